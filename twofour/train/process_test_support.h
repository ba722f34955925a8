// For tests: the running test in several processes at once, as ranks that train together.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace twofour {

// Whether this process is one of them. It ends after two minutes at the latest, and with its
// parent.
inline bool become_rank() {
  if (std::getenv("TWOFOUR_TEST_PART") == nullptr) return false;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(120);
  return true;
}

// What the test has given run_ranks to tell its calls apart.
inline std::string part() { return std::getenv("TWOFOUR_TEST_PART"); }

// A socket at a port of the loopback that nobody has.
inline int loopback_socket(int& port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
  port = ntohs(address.sin_port);
  return socket;
}

inline int free_port() {
  int port = 0;
  close(loopback_socket(port));
  return port;
}

// Runs this test in `size` processes. What waitpid says of each: 0 if its test passed; -1, and the
// test fails, if it could not be started.
inline std::vector<int> run_ranks(int size, const std::string& part = "",
                                  int master_port = free_port()) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  std::string filter =
      std::string("--gtest_filter=") + test->test_suite_name() + "." + test->name();
  const std::string port = std::to_string(master_port);
  std::vector<pid_t> processes;
  for (int rank = 0; rank < size; ++rank) {
    std::vector<std::string> variables = {
        "RANK=" + std::to_string(rank), "WORLD_SIZE=" + std::to_string(size),
        "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port, "TWOFOUR_TEST_PART=" + part};
    std::vector<char*> environment;
    for (std::string& variable : variables) environment.push_back(variable.data());
    for (char** variable = environ; *variable != nullptr; ++variable)
      environment.push_back(*variable);
    environment.push_back(nullptr);
    std::string program = "/proc/self/exe";
    char* arguments[] = {program.data(), filter.data(), nullptr};
    pid_t& process = processes.emplace_back(-1);
    const int error =
        posix_spawn(&process, program.c_str(), nullptr, nullptr, arguments, environment.data());
    if (error == 0) continue;
    ADD_FAILURE() << "rank " << rank << " cannot be started: " << std::strerror(error);
    process = -1;
  }
  std::vector<int> statuses;
  for (const pid_t process : processes) {
    int& status = statuses.emplace_back(-1);
    if (process > 0) waitpid(process, &status, 0);  // of 0 and -1 it would wait for any child
  }
  return statuses;
}

}  // namespace twofour
