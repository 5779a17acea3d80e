// The gateway as a process, started with every odd inheritance, and sent every signal.
#include "base/inherited_state.hpp"
#include "gateway/control_link.hpp"
#include "gateway/gateway_process.hpp"
#include "gateway/limits.hpp"
#include "sockets.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>

namespace understudy::gateway {
namespace {

using testing::HasSubstr;

class GatewayProcessTest : public testing::Test {
 protected:
  GatewayProcessTest() : socket_(directory_.path() / "gateway.sock") {}
  ~GatewayProcessTest() override { end(SIGKILL); }

  // As somebody starts it who has done `odd` before.
  void start(const std::function<void()>& odd = [] {}) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const int log =
        ::open((directory_.path() / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string path = socket_.string();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(pipe[1], STDOUT_FILENO);
      ::dup2(log, STDERR_FILENO);
      odd();
      ::execl("/proc/self/exe", "understudyd", "--gateway", path.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(pipe[1]);
    ::close(log);
    const test::Stream out{UniqueFd(pipe[0])};
    std::string said;
    std::array<char, 256> chunk{};
    while (said.find('\n') == std::string::npos && out.readable()) {
      const ssize_t count = ::read(out.fd(), chunk.data(), chunk.size());
      if (count <= 0) break;
      said.append(chunk.data(), static_cast<std::size_t>(count));
    }
    said_ = said;
  }
  // Whether it answers.
  [[nodiscard]] bool answers() const {
    auto link = ControlLink::connect(socket_);
    return link && *link &&
           (*link)->exchange(request::Status{}, milliseconds(test::kPatience_ms)).has_value();
  }
  // Its end after this signal, as waitpid tells it.
  int end(int number) {
    if (pid_ <= 0) return -1;
    ::kill(pid_, number);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  [[nodiscard]] std::string log() const {
    std::ifstream in(directory_.path() / "log");
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  [[nodiscard]] std::string proc(const std::string& key) const {
    std::ifstream in("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
    }
    return "";
  }

  test::RunDirectory directory_;
  std::filesystem::path socket_;
  pid_t pid_ = -1;
  std::string said_;
};

TEST_F(GatewayProcessTest, StartsAndServesWhateverItInherits) {
  const std::map<std::string, std::function<void()>> oddities{
      {"every signal ignored",
       [] {
         for (int n = 1; n < NSIG; ++n) ::signal(n, SIG_IGN);
       }},
      {"every signal blocked",
       [] {
         sigset_t all;
         ::sigfillset(&all);
         ::sigprocmask(SIG_SETMASK, &all, nullptr);
       }},
      {"a signal pending",
       [] {
         sigset_t all;
         ::sigfillset(&all);
         ::sigprocmask(SIG_SETMASK, &all, nullptr);
         ::raise(SIGTERM);
         ::raise(SIGALRM);
       }},
      {"an alarm", [] { ::ualarm(900'000, 0); }},
      {"no standard input or error",
       [] {
         ::close(0);
         ::close(2);
       }},
      {"umask 0", [] { ::umask(0); }},
      {"umask 0777", [] { ::umask(0777); }},
      {"few descriptors",
       [] {
         rlimit limit{};
         ::getrlimit(RLIMIT_NOFILE, &limit);
         limit.rlim_cur = 16;
         ::setrlimit(RLIMIT_NOFILE, &limit);
       }},
      {"small files",
       [] {
         rlimit limit{};
         ::getrlimit(RLIMIT_FSIZE, &limit);
         limit.rlim_cur = 0;
         ::setrlimit(RLIMIT_FSIZE, &limit);
       }},
      {"a small stack",
       [] {
         rlimit limit{};
         ::getrlimit(RLIMIT_STACK, &limit);
         limit.rlim_cur = 256 << 10;
         ::setrlimit(RLIMIT_STACK, &limit);
       }},
      {"what the C library keeps for itself ignored",
       [] {
         struct {
           void (*handler)(int);
           unsigned long flags;
           void (*restorer)();
           unsigned long mask;
         } ignore{SIG_IGN, 0, nullptr, 0};
         for (int number = __SIGRTMIN; number < SIGRTMIN; ++number)
           ::syscall(SYS_rt_sigaction, number, &ignore, nullptr, sizeof ignore.mask);
       }},
      {"niceness 19", [] { (void)!::nice(19); }},
      {"garbage in the environment",
       [] {
         for (const char* name : {"LC_ALL", "LANG", "TMPDIR", "MALLOC_ARENA_MAX", "TZ", "HOME", "PATH"})
           ::setenv(name, "\x01garbage", 1);
       }},
      {"no environment", [] { ::clearenv(); }},
      {"a hundred strange descriptors", [] {
         for (int i = 0; i < 100; ++i) (void)!::open("/dev/null", O_RDONLY);
       }}};
  for (const auto& [name, odd] : oddities) {
    SCOPED_TRACE(name);
    const auto alarm = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    start(odd);
    EXPECT_EQ(said_, "ready\n") << log();
    do {
      EXPECT_TRUE(answers());
    } while (name == std::string("an alarm") && std::chrono::steady_clock::now() < alarm);
    EXPECT_EQ(proc("SigBlk"), "0000000000000000");
    EXPECT_EQ(proc("Umask"), "0077");
    EXPECT_EQ(std::stoull("0x" + proc("SigIgn"), nullptr, 16),
              (1ULL << (SIGPIPE - 1)) | (1ULL << (SIGXFSZ - 1)) | (1ULL << (SIGTTIN - 1)) |
                  (1ULL << (SIGTTOU - 1)));
    std::error_code error;
    EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(pid_) + "/cwd", error), "/");
    const auto fds = std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd");
    EXPECT_LT(std::distance(std::filesystem::begin(fds), std::filesystem::end(fds)), 30);
    struct stat info {};
    EXPECT_EQ(::stat(socket_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    const int status = end(SIGTERM);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

// Today's SIGUSR1 of some monitoring script is the end of every client's connection, by default.
TEST_F(GatewayProcessTest, NoSignalEndsItButThoseThatAreMeantTo) {
  start();
  ASSERT_EQ(said_, "ready\n");
  for (const int number : signals_without_meaning()) {
    ASSERT_EQ(::kill(pid_, number), 0);
    // Signals and requests come to it on ways of their own: it may answer first.
    bool alive = true;
    while (alive && log().find(signal_name(number) + " means nothing to the gateway:") == std::string::npos)
      alive = answers();
    ASSERT_TRUE(alive) << signal_name(number) << " ended it";
  }
  for (const int number : {SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU, SIGCHLD, SIGURG, SIGWINCH, SIGCONT}) {
    ASSERT_EQ(::kill(pid_, number), 0);
    ASSERT_TRUE(answers()) << signal_name(number) << " ended it";
  }
  const std::size_t size = log().size();
  for (int i = 0; i < 10'000; ++i) ::kill(pid_, SIGUSR1);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(answers());
  EXPECT_LT(log().size(), size + 1000) << "whoever sends ten thousand fills its log";
}

TEST_F(GatewayProcessTest, TheSignalsThatEndItEndItInGoodOrder) {
  for (const int number : signals_that_end()) {
    SCOPED_TRACE(signal_name(number));
    start();
    ASSERT_EQ(said_, "ready\n");
    const int status = end(number);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_FALSE(std::filesystem::exists(socket_));
  }
}

TEST_F(GatewayProcessTest, WhatItCannotWorkWithIsSaidInOneLine) {
  start([] {
    const rlimit few{20, 20};
    ::setrlimit(RLIMIT_NOFILE, &few);
  });
  EXPECT_THAT(said_, testing::StartsWith("error: it cannot work with 20 descriptors (ulimit -n)"));
}

}  // namespace
}  // namespace understudy::gateway
