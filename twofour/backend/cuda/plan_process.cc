#include "twofour/backend/cuda/plan_process.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "twofour/base/error.h"
#include "twofour/io/json.h"

namespace twofour::cuda {
namespace {

using Json = nlohmann::json;

Json to_json(const PlanTask& task) {
  const ProductDesc& p = task.product;
  return {{"n", p.n},
          {"k", p.k},
          {"input", static_cast<int>(p.input)},
          {"output", static_cast<int>(p.output)},
          {"rows", task.rows},
          {"sparse", task.sparse}};
}

PlanTask task_of(const Json& json) {
  PlanTask task;
  task.product.n = json["n"];
  task.product.k = json["k"];
  task.product.input = static_cast<DType>(json["input"].get<int>());
  task.product.output = static_cast<DType>(json["output"].get<int>());
  task.rows = json["rows"];
  task.sparse = json["sparse"];
  return task;
}

Json to_json(const PlanChoice& c) {
  return {{"use", static_cast<int>(c.use)},
          {"id", c.algorithm.id},
          {"split_k", c.algorithm.split_k},
          {"mode", static_cast<int>(c.algorithm.mode)},
          {"buffers", c.algorithm.buffers},
          {"rank", c.dense_rank},
          {"variant", c.variant}};
}

PlanChoice choice_of(const Json& json) {
  PlanChoice c;
  c.use = static_cast<PlanUse>(json["use"].get<int>());
  c.algorithm = {json["id"], json["split_k"], static_cast<SplitKMode>(json["mode"].get<int>()),
                 json["buffers"]};
  c.dense_rank = json["rank"];
  c.variant = json["variant"];
  return c;
}

// One message of a SOCK_SEQPACKET socket.
constexpr size_t kLongestMessage = 1 << 16;

void send_text(int socket, const std::string& text) {
  // MSG_NOSIGNAL: the other side may be gone, which its answer, or none, will tell.
  if (send(socket, text.data(), std::min(text.size(), kLongestMessage), MSG_NOSIGNAL) < 0) return;
}

// Empty where the other side is gone.
std::string receive_text(int socket) {
  std::string text(kLongestMessage, '\0');
  ssize_t count = -1;
  do {
    count = recv(socket, text.data(), text.size(), 0);
  } while (count < 0 && errno == EINTR);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

Json answer_to(PlanMeter& meter, const Json& question) {
  const std::string what = question["what"];
  if (what == "environment") {
    const PlanEnvironment e = meter.environment();
    return {{"gpu", e.gpu},
            {"driver", e.driver},
            {"runtime", e.runtime},
            {"cusparselt", e.cusparselt},
            {"cublaslt", e.cublaslt}};
  }
  const PlanTask task = task_of(question["task"]);
  if (what == "facts") {
    const TaskFacts f = meter.facts(task);
    return {{"capability", f.capability},  {"sparse", f.sparse_algorithms},
            {"dense", f.dense_algorithms}, {"own", f.own},
            {"cutlass", f.cutlass},        {"missing", f.missing}};
  }
  const PlanTime time = meter.measure(task, choice_of(question["candidate"]));
  return {{"us", time.us}, {"no_graph", time.no_graph}, {"split_k", time.split_k}};
}

// What the new process does until its parent is gone.
void serve(int socket, const std::function<std::unique_ptr<PlanMeter>()>& make) {
  std::unique_ptr<PlanMeter> meter;
  for (std::string text = receive_text(socket); !text.empty(); text = receive_text(socket)) {
    Json answer;
    try {
      if (meter == nullptr) meter = make();
      answer = answer_to(*meter, Json::parse(text));
    } catch (const DeviceLost& error) {
      send_text(socket, json_text(Json{{"error", error.what()}, {"fatal", true}}));
      return;
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}};
    }
    send_text(socket, json_text(answer));
  }
}

[[noreturn]] void become_meter(int socket, pid_t parent,
                               const std::function<std::unique_ptr<PlanMeter>()>& make) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  // A terminal sends them to both; the parent decides.
  for (const int signal : {SIGINT, SIGHUP}) std::signal(signal, SIG_IGN);
  std::signal(SIGTERM, SIG_DFL);
  serve(socket, make);
  _exit(0);  // without destructors: the device's may hang
}

}  // namespace

PlanProcess::PlanProcess(std::function<std::unique_ptr<PlanMeter>()> make, double start_limit_s)
    : make_(std::move(make)), start_limit_s_(start_limit_s) {}

PlanProcess::~PlanProcess() { stop(); }

void PlanProcess::start() {
  if (process_ != 0) return;
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    throw Error("plan", fmt::format("no socket for the measuring process: {}", strerror(errno)));
  const pid_t parent = getpid();
  const pid_t process = fork();
  if (process == 0) {
    close(sockets[0]);
    become_meter(sockets[1], parent, make_);
  }
  close(sockets[1]);
  if (process < 0) {
    close(sockets[0]);
    throw Error("plan", fmt::format("no measuring process: {}", strerror(errno)));
  }
  socket_ = sockets[0];
  process_ = process;
  ++started_;
}

std::string PlanProcess::stop() {
  if (process_ == 0) return "";
  close(socket_);
  kill(process_, SIGKILL);
  int status = 0;
  while (waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = 0;
  socket_ = -1;
  if (WIFSIGNALED(status)) return fmt::format("crashed by signal {}", WTERMSIG(status));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

PlanProcess::Answer PlanProcess::ask(const std::string& question, double limit_s) {
  start();
  send_text(socket_, question);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd waiting{socket_, POLLIN, 0};
    const int ready = poll(&waiting, 1, std::max<int>(0, static_cast<int>(left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      stop();
      return {"", fmt::format("gave no answer within {:.3g} s", limit_s)};
    }
    Answer answer{receive_text(socket_), ""};
    if (answer.text.empty()) {
      // It has closed its socket, by ending unless it lost the device. stop() may be quicker than
      // its end, and then says that SIGKILL ended it.
      answer.death = stop();
    }
    return answer;
  }
}

std::string PlanProcess::answer_or_throw(const std::string& question) {
  const Answer answer = ask(question, start_limit_s_);
  if (!answer.death.empty()) throw Error("plan", "the measuring process " + answer.death);
  const Json json = Json::parse(answer.text);
  if (json.contains("error")) throw Error("plan", json["error"].get<std::string>());
  return answer.text;
}

PlanEnvironment PlanProcess::environment() {
  const Json json = Json::parse(answer_or_throw(Json{{"what", "environment"}}.dump()));
  return {json["gpu"], json["driver"], json["runtime"], json["cusparselt"], json["cublaslt"]};
}

TaskFacts PlanProcess::facts(const PlanTask& task) {
  const Json question = {{"what", "facts"}, {"task", to_json(task)}};
  const Json json = Json::parse(answer_or_throw(question.dump()));
  return {json["capability"], json["sparse"],  json["dense"],
          json["own"],        json["missing"], json["cutlass"].get<std::vector<int>>()};
}

PlanTrial PlanProcess::measure(const PlanTask& task, const PlanChoice& candidate, double limit_s) {
  const Json question = {
      {"what", "measure"}, {"task", to_json(task)}, {"candidate", to_json(candidate)}};
  PlanTrial trial;
  trial.choice = candidate;
  if (process_ == 0) {
    try {
      facts(task);  // so that starting and preparing do not count against the candidate
    } catch (const Error& error) {
      trial.failure = error.what();
      return trial;
    }
  }
  const Answer answer = ask(question.dump(), limit_s);
  if (!answer.death.empty()) {
    trial.failure = answer.death;
    trial.fatal = true;
    return trial;
  }
  const Json json = Json::parse(answer.text);
  if (!json.contains("error")) {
    trial.us = json["us"];
    trial.no_graph = json["no_graph"];
    trial.split_k = json["split_k"];
    return trial;
  }
  trial.failure = json["error"];
  trial.fatal = json.contains("fatal");
  if (trial.fatal) stop();
  return trial;
}

}  // namespace twofour::cuda
