#include "twofour/train/process_group.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "twofour/base/testing.h"
#include "twofour/train/process_test_support.h"

namespace twofour {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

using Variables = std::map<std::string, std::string>;

ProcessOptions read(const Variables& variables) {
  return process_options([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(ProcessOptions, AreThoseOfTheEnvironment) {
  EXPECT_EQ(read({}).size, 1);
  EXPECT_EQ(read({{"MASTER_PORT", "x"}}).size, 1);
  EXPECT_EQ(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size, 1);
  const ProcessOptions options = read({{"RANK", "2"},
                                       {"WORLD_SIZE", "4"},
                                       {"LOCAL_RANK", "0"},
                                       {"LOCAL_WORLD_SIZE", "2"},
                                       {"MASTER_ADDR", "node0"},
                                       {"MASTER_PORT", "29500"},
                                       {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                       {"TORCHELASTIC_RESTART_COUNT", "1"}});
  EXPECT_EQ(options.rank, 2);
  EXPECT_EQ(options.size, 4);
  EXPECT_EQ(options.local_size, 2);
  EXPECT_EQ(options.address, "node0");
  EXPECT_EQ(options.port, 29500);
  EXPECT_TRUE(options.store_is_there);
  EXPECT_EQ(options.attempt, "1");
}

TEST(ProcessOptions, NameWhatIsMissingOrWrong) {
  const auto expect = [](Variables variables, const std::string& message) {
    EXPECT_EQ(error_of([&] { read(variables); }),
              message +
                  ". Set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun does, or "
                  "none of them.");
  };
  expect({{"RANK", "0"}}, "[WORLD_SIZE] is not set, but RANK is");
  expect({{"WORLD_SIZE", "2"}}, "[RANK] is not set, but WORLD_SIZE is");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "0"}},
         "[WORLD_SIZE] is '0': expected a whole number from 1 to 32767");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "two"}},
         "[WORLD_SIZE] is 'two': expected a whole number from 1 to 32767");
  expect({{"RANK", "2"}, {"WORLD_SIZE", "2"}},
         "[RANK] is '2': expected a whole number from 0 to 1");
  expect({{"RANK", "1st"}, {"WORLD_SIZE", "2"}},
         "[RANK] is '1st': expected a whole number from 0 to 1");
  Variables variables = {{"RANK", "1"}, {"WORLD_SIZE", "2"}};
  expect(variables, "[MASTER_ADDR] is not set, but WORLD_SIZE is");
  variables["MASTER_ADDR"] = "127.0.0.1";
  expect(variables, "[MASTER_PORT] is not set, but WORLD_SIZE is");
  variables["MASTER_PORT"] = "http";
  expect(variables, "[MASTER_PORT] is 'http': expected a whole number from 1 to 65535");
  variables["MASTER_PORT"] = "65536";
  expect(variables, "[MASTER_PORT] is '65536': expected a whole number from 1 to 65535");
  variables["MASTER_PORT"] = "29500";
  variables["LOCAL_WORLD_SIZE"] = "3";
  expect(variables, "[LOCAL_WORLD_SIZE] is '3': expected a whole number from 1 to 2");
}

TEST(ProcessGroup, OfOneDoesNothing) {
  const auto group = ProcessGroup::open({});
  const at::Tensor values = at::arange(3);
  group->all_reduce_sum(values);
  group->all_reduce_sums({values});
  group->broadcast(values, 0);
  group->barrier();
  group->check_equal(1, "", "");
  EXPECT_TRUE(at::equal(values, at::arange(3)));
  EXPECT_EQ(group->broadcast({1, 2}), (std::vector<uint8_t>{1, 2}));
  EXPECT_EQ(group->name(), "rank 0 of 1");
}

class ProcessGroupOf : public testing::TestWithParam<int> {};

TEST_P(ProcessGroupOf, SumsBroadcastsAndCompares) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(GetParam()), Each(0));
    return;
  }
  const auto group = ProcessGroup::open(process_options());
  const int rank = group->rank(), size = group->size(), all = size * (size + 1) / 2;
  ASSERT_EQ(size, GetParam());
  const at::Tensor one = at::full({3}, rank + 1, at::kDouble);
  group->all_reduce_sum(one);
  EXPECT_TRUE(at::equal(one, at::full({3}, all, at::kDouble)));
  // More than a bucket; strided; of another type.
  const std::vector<at::Tensor> many = {at::full({9 << 20}, rank + 1, at::kFloat),
                                        at::full({4, 3}, rank + 1, at::kFloat).t(),
                                        at::full({2}, rank + 1, at::kLong)};
  group->all_reduce_sums(many);
  for (const at::Tensor& sums : many) EXPECT_TRUE(sums.eq(all).all().item<bool>());

  const at::Tensor of_last = at::full({2}, rank, at::kFloat);
  group->broadcast(of_last, size - 1);
  EXPECT_TRUE(of_last.eq(size - 1).all().item<bool>());
  const std::vector<uint8_t> bytes(rank == 0 ? 5 : 1, static_cast<uint8_t>(rank + 1));
  EXPECT_EQ(group->broadcast(bytes), std::vector<uint8_t>(5, 1));

  group->check_equal(7, "answers", "");
  EXPECT_EQ(
      error_of([&] { group->check_equal(rank == size - 1 ? 8 : 7, "answers", "Ask again."); }),
      fmt::format("[rank {} of {}] rank {} and rank 0 differ in answers. Ask again.", rank, size,
                  size - 1));
  group->barrier();
}

INSTANTIATE_TEST_SUITE_P(ProcessGroup, ProcessGroupOf, testing::Values(2, 3));

// As torchrun has it for a program that trains twice.
TEST(ProcessGroup, MeetsAgainAtTheStoreOfALauncher) {
  if (!become_rank()) {
    c10d::TCPStoreOptions store;
    store.port = static_cast<uint16_t>(free_port());
    store.isServer = true;
    store.waitWorkers = false;
    store.useLibUV = false;
    const c10d::TCPStore launcher("127.0.0.1", store);
    EXPECT_THAT(run_ranks(2, "", store.port), Each(0));
    return;
  }
  ProcessOptions options = process_options();
  options.store_is_there = true;
  for (int training = 0; training < 2; ++training) {
    const auto group = ProcessGroup::open(options);
    const at::Tensor one = at::ones({1});
    group->all_reduce_sum(one);
    EXPECT_EQ(one.item<float>(), 2);
  }
}

TEST(ProcessGroup, TellsWhyAnotherProcessHasFailed) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(2), Each(0));
    return;
  }
  const auto group = ProcessGroup::open(process_options());
  if (group->rank() == 1) return group->fail("[step 3] the loss is nan");
  EXPECT_EQ(error_of([&] { group->barrier(); }),
            "[rank 0 of 2] cannot go on, because rank 1 has failed: [step 3] the loss is nan");
}

// Also if it is the one that keeps the store, of which LibTorch would warn.
TEST(ProcessGroup, NoticesThatAnotherProcessIsGone) {
  if (!become_rank()) {
    for (const int gone : {1, 0}) {
      const std::vector<int> statuses = run_ranks(2, fmt::format("{}", gone));
      EXPECT_EQ(statuses[1 - gone], 0);
      EXPECT_TRUE(WIFSIGNALED(statuses[gone]) && WTERMSIG(statuses[gone]) == SIGKILL);
    }
    return;
  }
  const auto group = ProcessGroup::open(process_options());
  group->barrier();
  if (part() == fmt::format("{}", group->rank())) raise(SIGKILL);
  testing::internal::CaptureStderr();
  EXPECT_THAT(
      error_of([&] { group->barrier(); }),
      AllOf(StartsWith(fmt::format("[{}] has lost another process: ", group->name())),
            EndsWith(". What that one printed says why; --resume in all of them goes on.")));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(ProcessGroup, SaysWhereItHasNotMetTheOthers) {
  const char* reasons[] = {"rank 0 has waited for 1 of 2 processes (rank 1)",
                           "rank 0 does not answer there: Connection refused"};
  const char* missing[] = {"1 of 2 processes (rank 1)", "rank 0"};
  ProcessOptions options{.size = 2, .address = "127.0.0.1"};
  options.join_timeout = std::chrono::seconds(2);
  for (options.rank = 0; options.rank < 2; ++options.rank) {
    options.port = static_cast<uint16_t>(free_port());
    std::vector<std::string> log;
    Callbacks callbacks;
    callbacks.log = [&](LogLevel, const std::string& message) { log.push_back(message); };
    testing::internal::CaptureStderr();
    EXPECT_EQ(error_of([&] { ProcessGroup::open(options, callbacks); }),
              fmt::format("[rank {} of 2] has not met the others at 127.0.0.1:{}: {}. Start all 2 "
                          "processes within 2 s, with the same MASTER_ADDR and MASTER_PORT.",
                          options.rank, options.port, reasons[options.rank]));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");  // nor anything of LibTorch's
    EXPECT_THAT(log,
                ElementsAre(fmt::format("rank {} of 2: waiting for {} at 127.0.0.1:{}, at most 2 s",
                                        options.rank, missing[options.rank], options.port)));
  }
}

TEST(ProcessGroup, IsNotOpenedByWhoIsAskedToStopWhileAlone) {
  ProcessOptions options{.size = 2, .address = "127.0.0.1"};
  for (options.rank = 0; options.rank < 2; ++options.rank) {
    options.port = static_cast<uint16_t>(free_port());
    Callbacks callbacks;
    callbacks.stop_requested = [looks = 0]() mutable { return ++looks > 3; };
    EXPECT_EQ(ProcessGroup::open(options, callbacks), nullptr) << options.rank;
  }
}

// Rank 2 does not come. One of the others is asked to stop when it has seen that both have.
TEST(ProcessGroup, IsNotOpenedByAnyWhereOneIsAskedToStop) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(3, "rank 0"), Each(0));
    EXPECT_THAT(run_ranks(3, "rank 1"), Each(0));
    return;
  }
  const ProcessOptions options = process_options();
  if (options.rank == 2) return;
  bool asked = false;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel, const std::string& message) {
    const bool both = message.find("for 1 of 3 processes (rank 2)") != std::string::npos;
    asked = both && part() == fmt::format("rank {}", options.rank);
  };
  callbacks.stop_requested = [&] { return asked; };
  EXPECT_EQ(ProcessGroup::open(options, callbacks), nullptr);
}

TEST(ProcessGroup, SaysThatRankZeroHasEndedWhileOthersWaited) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(3), ElementsAre(SIGKILL, 0, 0));
    return;
  }
  const ProcessOptions options = process_options();
  if (options.rank == 2) return;
  Callbacks callbacks;
  callbacks.log = [&](LogLevel, const std::string& message) {
    if (options.rank == 0 && message.find("(rank 2)") != std::string::npos) raise(SIGKILL);
  };
  testing::internal::CaptureStderr();
  EXPECT_THAT(error_of([&] { ProcessGroup::open(options, callbacks); }),
              HasSubstr("rank 0 has ended. Start all 3 processes within 300 s"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(ProcessGroup, TellsAllThatHaveComeWhenOneHasWaitedTooLong) {
  if (!become_rank()) {
    EXPECT_THAT(run_ranks(3), Each(0));
    return;
  }
  ProcessOptions options = process_options();
  if (options.rank == 2) return;
  options.join_timeout = std::chrono::seconds(options.rank == 0 ? 300 : 2);
  EXPECT_THAT(error_of([&] { ProcessGroup::open(options); }),
              HasSubstr("rank 1 has waited for 1 of 3 processes (rank 2). Start all 3 "));
}

TEST(ProcessGroup, SaysWhereItCannotListen) {
  const auto expect = [](const std::string& address, int port, const std::string& why) {
    EXPECT_EQ(
        error_of([&] {
          ProcessGroup::open({.size = 2, .address = address, .port = static_cast<uint16_t>(port)});
        }),
        fmt::format("[rank 0] cannot listen at {}:{}: {}. MASTER_ADDR is an address of the "
                    "machine of rank 0, MASTER_PORT a free port there.",
                    address, port, why));
  };
  int port = 0;
  const int socket = loopback_socket(port);
  ASSERT_EQ(listen(socket, 1), 0);
  expect("127.0.0.1", port, "Address already in use");
  close(socket);
  expect("192.0.2.1", port, "Cannot assign requested address");  // of documents
}

}  // namespace
}  // namespace twofour
