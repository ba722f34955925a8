#include "twofour/train/process_group.h"

#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <optional>
#include <utility>

#define USE_C10D_GLOO  // its header is empty without
#include <torch/csrc/utils/tensor_flatten.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "twofour/base/error.h"
#include "twofour/train/rendezvous.h"
#include "twofour/train/torch_errors.h"

namespace twofour {
namespace {

constexpr std::chrono::hours kTimeout{2};
constexpr size_t kBucketBytes = size_t{32} << 20;

// --- Environment -------------------------------------------------------------------------------

constexpr const char* kSetAll =
    "Set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun does, or none of them.";

int whole_number(const std::string& name, std::string_view text, int least, int most) {
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stop == end && value >= least && value <= most) return value;
  throw Error(name,
              fmt::format("is '{}': expected a whole number from {} to {}", text, least, most),
              kSetAll);
}

// --- Gloo --------------------------------------------------------------------------------------

constexpr const char* kFailed = "failed";  // key of the store: why the first one ended

// While it lives, this thread and those that it starts get an error where they write to a process
// that has ended, and not the signal that ends a program: Python, for which c10d is written,
// ignores that signal.
class BrokenPipesAreErrors {
 public:
  BrokenPipesAreErrors() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~BrokenPipesAreErrors() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const timespec at_once{};
    sigtimedwait(&pipe_, nullptr, &at_once);  // one that waits is not for the caller
    pthread_sigmask(SIG_UNBLOCK, &pipe_, nullptr);
  }
  BrokenPipesAreErrors(const BrokenPipesAreErrors&) = delete;
  BrokenPipesAreErrors& operator=(const BrokenPipesAreErrors&) = delete;

 private:
  sigset_t pipe_, before_;
};

// While it lives, LibTorch is silent of what becomes an error here: it would write stacks to
// stderr. Who looks for a fault in LibTorch itself sets its variable.
class NoWarnings {
 public:
  NoWarnings() {
    if (std::getenv("TORCH_CPP_LOG_LEVEL") != nullptr) return;
    FLAGS_caffe2_log_level = std::max(FLAGS_caffe2_log_level, c10::GLOG_ERROR);
  }
  ~NoWarnings() { FLAGS_caffe2_log_level = before_; }
  NoWarnings(const NoWarnings&) = delete;
  NoWarnings& operator=(const NoWarnings&) = delete;

 private:
  const int before_ = FLAGS_caffe2_log_level;
};

// What both must last: the meeting, and the group.
struct Surroundings {
  BrokenPipesAreErrors broken_pipes;
  NoWarnings no_warnings;
};

// Gloo sums in host memory, to which the trainer copies gradients of GPUs. NCCL, which sums between
// GPUs, would be made here. Opened and closed by one thread.
class GlooGroup : public ProcessGroup {
 public:
  GlooGroup(const ProcessOptions& options, const Meeting& meeting,
            std::unique_ptr<Surroundings> surroundings)
      : rank_(options.rank),
        size_(options.size),
        surroundings_(std::move(surroundings)),
        store_(meeting.store) {
    try {
      auto gloo = c10d::ProcessGroupGloo::Options::create(options.join_timeout);
      gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(meeting.own_address));
      backend_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store_, rank_, size_, gloo);
    } catch (const std::exception& error) {
      throw Error(name(), "cannot be connected with the others: " + reason_of(error),
                  "Start all of them again; between machines their firewalls must let them "
                  "connect at any port.");
    }
    backend_->setTimeout(kTimeout);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(const at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    wait_for([&] { return backend_->allreduce(tensors); });
  }

  void broadcast(const at::Tensor& tensor, int root) override {
    std::vector<at::Tensor> tensors = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    wait_for([&] { return backend_->broadcast(tensors, options); });
  }

  void barrier() override {
    wait_for([&] { return backend_->barrier(); });
  }

  void fail(std::string_view reason) noexcept override {
    if (lost_) return;
    try {
      store_->compareSet(kFailed, "", fmt::format("rank {} has failed: {}", rank_, reason));
    } catch (const std::exception&) {
      // The others see that this process is gone.
    }
  }

 private:
  template <class Start>
  void wait_for(const Start& start) {
    try {
      start()->wait();
    } catch (const std::exception& error) {
      lost_ = true;
      const std::string told = told_reason();
      if (!told.empty()) throw Error(name(), "cannot go on, because " + told);
      throw Error(name(), "has lost another process: " + reason_of(error),
                  "What that one printed says why; --resume in all of them goes on.");
    }
  }

  // Empty if the process that has ended left no word, or was rank 0, which keeps the words.
  std::string told_reason() {
    try {
      return store_->check({kFailed}) ? store_->get_to_str(kFailed) : "";
    } catch (const std::exception&) {
      return "";
    }
  }

  int rank_, size_;
  bool lost_ = false;
  std::unique_ptr<Surroundings> surroundings_;  // ends last
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::Backend> backend_;  // ends before the store
};

}  // namespace

ProcessOptions process_options(const Environment& environment) {
  const auto text = [&](const char* name) -> std::string_view {
    const char* found = environment(name);
    return found == nullptr ? "" : found;
  };
  const std::string_view rank = text("RANK"), size = text("WORLD_SIZE");
  ProcessOptions options;
  if (rank.empty() && size.empty()) return options;
  const auto need = [&](const char* name, const char* because) {
    if (text(name).empty()) {
      throw Error(name, fmt::format("is not set, but {} is", because), kSetAll);
    }
    return text(name);
  };
  constexpr int kMost = std::numeric_limits<int16_t>::max();
  options.size = whole_number("WORLD_SIZE", need("WORLD_SIZE", "RANK"), 1, kMost);
  options.rank = whole_number("RANK", need("RANK", "WORLD_SIZE"), 0, options.size - 1);
  if (options.size == 1) return options;
  options.address = need("MASTER_ADDR", "WORLD_SIZE");
  options.port = static_cast<uint16_t>(
      whole_number("MASTER_PORT", need("MASTER_PORT", "WORLD_SIZE"), 1, 65535));
  if (const std::string_view local = text("LOCAL_WORLD_SIZE"); !local.empty()) {
    options.local_size = whole_number("LOCAL_WORLD_SIZE", local, 1, options.size);
  }
  options.store_is_there = text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  options.attempt = text("TORCHELASTIC_RESTART_COUNT");
  return options;
}

std::unique_ptr<ProcessGroup> ProcessGroup::open(const ProcessOptions& options,
                                                 const Callbacks& callbacks) {
  if (options.size == 1) return std::make_unique<ProcessGroup>();
  auto surroundings = std::make_unique<Surroundings>();
  const std::optional<Meeting> meeting = meet(options, callbacks);
  if (!meeting) return nullptr;
  return std::make_unique<GlooGroup>(options, *meeting, std::move(surroundings));
}

std::string ProcessGroup::name() const { return fmt::format("rank {} of {}", rank(), size()); }

void ProcessGroup::all_reduce_sums(const std::vector<at::Tensor>& tensors) {
  if (size() == 1) return;
  const at::NoGradGuard no_grad;
  for (const torch::utils::TensorGroup& bucket :
       torch::utils::take_tensors(tensors, kBucketBytes)) {
    const at::Tensor sums = at::flatten_dense_tensors(bucket.tensors);
    all_reduce_sum(sums);
    const std::vector<at::Tensor> parts = at::unflatten_dense_tensors(sums, bucket.tensors);
    for (size_t i = 0; i < parts.size(); ++i) at::Tensor(bucket.tensors[i]).copy_(parts[i]);
  }
}

std::vector<uint8_t> ProcessGroup::broadcast(std::vector<uint8_t> bytes) {
  if (size() == 1) return bytes;
  const at::Tensor length = at::full({1}, std::ssize(bytes), at::kLong);
  broadcast(length, 0);
  bytes.resize(static_cast<size_t>(length.item<int64_t>()));
  if (!bytes.empty()) broadcast(at::from_blob(bytes.data(), {std::ssize(bytes)}, at::kByte), 0);
  return bytes;
}

void ProcessGroup::check_equal(uint64_t value, std::string_view what, std::string_view remedy) {
  if (size() == 1) return;
  const at::Tensor values = at::zeros({size()}, at::kLong);
  auto* of_rank = values.data_ptr<int64_t>();
  of_rank[rank()] = static_cast<int64_t>(value);
  all_reduce_sum(values);
  for (int other = 1; other < size(); ++other) {
    if (of_rank[other] == of_rank[0]) continue;
    throw Error(name(), fmt::format("rank {} and rank 0 differ in {}", other, what), remedy);
  }
}

}  // namespace twofour
