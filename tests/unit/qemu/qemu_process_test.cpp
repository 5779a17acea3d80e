#include "qemu/qemu_process.hpp"

#include "loop.hpp"
#include "qemu/proc.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include <boost/asio/post.hpp>

namespace understudy::qemu {
namespace {

using testing::HasSubstr;

struct QemuProcessTest : testing::Test {
  TemporaryDirectory directory;
  Loop loop;
  std::vector<std::string> ends;

  // Programs of a shell, with arguments that carry a marker.
  SpawnSpec shell(const std::string& script, std::vector<int> fds = {}) const {
    return {{"/bin/sh", "-c", script, "sh", "-name", name_option(marker)},
            directory.path / "log",
            std::move(fds)};
  }
  std::unique_ptr<QemuProcess> spawn(const SpawnSpec& spec) {
    auto made =
        QemuProcess::spawn(loop.context, spec, [this](const std::string& how) { ends.push_back(how); });
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  std::string log() const { return read_proc_file(directory.path / "log"); }
  Marker marker{"/run/understudy-test", "a", 1};
};

TEST_F(QemuProcessTest, TellsHowItEnded) {
  const auto first = spawn(shell("exit 7"));
  ASSERT_TRUE(loop.until([this] { return !ends.empty(); }));
  EXPECT_EQ(ends[0], "exit status 7");
  EXPECT_EQ(first->how_it_ended(), "exit status 7");
  const auto second = spawn(shell("kill -ABRT $$"));
  ASSERT_TRUE(loop.until([this] { return ends.size() == 2; }));
  EXPECT_THAT(ends[1], HasSubstr("killed by signal 6 (SIGABRT)"));
}

TEST_F(QemuProcessTest, AProgramThatIsNotThereIsAClearError) {
  auto made = QemuProcess::spawn(loop.context, {{"no-such-qemu"}, directory.path / "log", {}}, {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("cannot start no-such-qemu"));
  EXPECT_THAT(made.error().message, HasSubstr("apt install qemu-system-x86"));
}

TEST_F(QemuProcessTest, GetsItsDescriptorsALogASessionAndNothingElse) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);  // inheritable, as a library might leave one
  const int stray = ::fcntl(pipe_fds[0], F_DUPFD, 30);
  int second[2];
  ASSERT_EQ(::pipe2(second, O_CLOEXEC), 0);
  const auto process =
      spawn(shell("echo out; echo err >&2; echo three >&3; echo four >&4; ls /proc/$$/fd | tr '\\n' ' '; "
                  "cut -d' ' -f5,6 /proc/$$/stat; exec sleep 100",
                  {pipe_fds[1], second[1]}));
  ::close(pipe_fds[1]);
  ::close(second[1]);
  char text[16]{};
  EXPECT_EQ(::read(pipe_fds[0], text, sizeof text), 6);
  EXPECT_STREQ(text, "three\n");
  EXPECT_EQ(::read(second[0], text, sizeof text), 5);
  ASSERT_TRUE(loop.until([this] {
    loop.run_for(std::chrono::milliseconds(10));
    return log().find('\n', 10) != std::string::npos && log().find(std::to_string(::getpid())) != 0;
  }));
  loop.run_for(std::chrono::milliseconds(100));
  EXPECT_THAT(log(), HasSubstr("out\nerr\n"));
  EXPECT_THAT(log(), HasSubstr("0 1 2 3 4 "));
  EXPECT_EQ(log().find("30 "), std::string::npos) << "a descriptor leaked: " << log();
  const std::string pid = std::to_string(process->pid());
  EXPECT_THAT(log(), HasSubstr(pid + " " + pid)) << "is not a session of its own";
  ASSERT_TRUE(process->signal(SIGKILL));
  ASSERT_TRUE(loop.until([this] { return !ends.empty(); }));
  ::close(stray);
  ::close(pipe_fds[0]);
  ::close(second[0]);
}

TEST_F(QemuProcessTest, NoFileThatItWasGivenBecomesLongerThanItMayAndItLivesOn) {
  const std::filesystem::path area = directory.path / "area";
  std::ofstream(area) << "x";
  std::filesystem::resize_file(area, 1 << 20);
  const UniqueFd fd(::open(area.c_str(), O_RDWR | O_CLOEXEC));
  SpawnSpec spec = shell(
      "truncate -s 2M /proc/self/fd/3 2>&1; fallocate -o 1M -l 4096 /proc/self/fd/3 2>&1;"
      "truncate -s 512K /proc/self/fd/3 && truncate -s 1M /proc/self/fd/3 && echo as before;"
      "dd if=/dev/zero of=/proc/self/fd/3 bs=1M seek=1 count=1 conv=notrunc 2>&1; echo lives on",
      {fd.get()});
  spec.largest_file_bytes = 1 << 20;
  const auto process = spawn(spec);
  ASSERT_TRUE(loop.until([this] { return !ends.empty(); }));
  EXPECT_THAT(log(), testing::ContainsRegex("truncate: [^\n]*File too large\n"));
  EXPECT_THAT(log(), testing::ContainsRegex("fallocate: [^\n]*File too large\n"));
  EXPECT_THAT(log(), HasSubstr("as before\n"));
  EXPECT_THAT(log(), testing::ContainsRegex("dd: [^\n]*File too large\n"));
  EXPECT_THAT(log(), HasSubstr("lives on\n"));
  EXPECT_EQ(std::filesystem::file_size(area), 1U << 20);
}

TEST_F(QemuProcessTest, KillProvesThatNothingRunsAnyMore) {
  const auto process = spawn(shell("while :; do :; done"));
  std::string how;
  process->kill([&how](const std::string& text) { how = text; });
  EXPECT_TRUE(how.empty()) << "called from inside the request";
  ASSERT_TRUE(loop.until([&how] { return !how.empty(); }));
  EXPECT_TRUE(all_threads_over(process->pid()));
  ASSERT_TRUE(loop.until([this] { return !ends.empty(); }));
  EXPECT_EQ(ends[0], "killed by signal 9 (SIGKILL)");
  // Afterwards it is told at once, and nothing is signalled.
  how.clear();
  process->kill([&how](const std::string& text) { how = text; });
  ASSERT_TRUE(loop.until([&how] { return !how.empty(); }));
  EXPECT_EQ(how, "killed by signal 9 (SIGKILL)");
  EXPECT_FALSE(process->signal(0));
}

TEST_F(QemuProcessTest, KillWorksOnAStoppedProcess) {
  const auto process = spawn(shell("while :; do :; done"));
  ASSERT_TRUE(process->signal(SIGSTOP));
  ASSERT_TRUE(loop.until([&] {
    loop.run_for(std::chrono::milliseconds(1));
    return process_stat(process->pid())->state == 'T';
  }));
  EXPECT_FALSE(all_threads_over(process->pid())) << "stopped can be continued";
  bool stopped = false;
  process->kill([&stopped](const std::string&) { stopped = true; });
  ASSERT_TRUE(loop.until([&stopped] { return stopped; }));
}

TEST_F(QemuProcessTest, OutlivesTheObjectAndCanBeAdopted) {
  pid_t pid = 0;
  {
    const auto process = spawn(shell("exec sleep 100"));
    pid = process->pid();
  }
  loop.run_for(std::chrono::milliseconds(20));
  ASSERT_TRUE(process_stat(pid));
  EXPECT_FALSE(process_stat(pid)->is_over());
  EXPECT_TRUE(ends.empty());
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

// Starts it as a grandchild, so that it is nobody's child here: as after a restart of the daemon.
pid_t start_as_stranger(const SpawnSpec& spec) {
  int fds[2];
  if (::pipe(fds) != 0) return 0;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto pid = spawn_process(spec);
    const pid_t value = pid ? *pid : 0;
    (void)!::write(fds[1], &value, sizeof value);
    ::_exit(0);
  }
  pid_t pid = 0;
  (void)!::read(fds[0], &pid, sizeof pid);
  ::waitpid(child, nullptr, 0);
  ::close(fds[0]);
  ::close(fds[1]);
  // Its parent goes on as soon as it is executed, which is a moment before it has its arguments.
  while (pid > 0 && !find_marker(arguments_of(pid)) && !all_threads_over(pid)) ::sched_yield();
  return pid;
}

// Forks nothing, which would carry the marker, too, until it is another program.
constexpr const char* kSpin = "while :; do :; done";

TEST_F(QemuProcessTest, AStrangerIsAdoptedByItsMarkerAndByNothingElse) {
  const pid_t pid = start_as_stranger(shell(kSpin));
  ASSERT_GT(pid, 0);
  const auto ended = [this](const std::string& how) { ends.push_back(how); };
  for (const Marker& wrong :
       {Marker{"/run/other", "a", 1}, Marker{marker.run_dir, "b", 1}, Marker{marker.run_dir, "a", 2}})
    EXPECT_FALSE(QemuProcess::adopt(loop.context, pid, wrong, ended));
  EXPECT_FALSE(QemuProcess::adopt(loop.context, ::getpid(), marker, ended));
  EXPECT_FALSE(QemuProcess::adopt(loop.context, 1 << 22, marker, ended));
  auto process = QemuProcess::adopt(loop.context, pid, marker, ended);
  ASSERT_TRUE(process) << process.error().message;
  bool stopped = false;
  (*process)->kill([&stopped](const std::string&) { stopped = true; });
  ASSERT_TRUE(loop.until([&] { return stopped && !ends.empty(); }));
  EXPECT_THAT(ends[0], HasSubstr("an earlier daemon started it"));
}

TEST_F(QemuProcessTest, EndAllFindsTheQemusOfThisRunDirectoryAlone) {
  marker.run_dir = directory.path;
  const pid_t ours = start_as_stranger(shell(kSpin));
  marker.guest = "b";
  const pid_t second = start_as_stranger(shell(kSpin));
  marker.run_dir = directory.path / "other";
  const pid_t other = start_as_stranger(shell(kSpin));
  std::filesystem::create_directories(directory.path / "guests" / "a");
  const auto ended = end_all(directory.path);
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(*ended, 2u);
  EXPECT_TRUE(all_threads_over(ours));
  EXPECT_TRUE(all_threads_over(second));
  EXPECT_FALSE(all_threads_over(other));
  EXPECT_FALSE(std::filesystem::exists(directory.path / "guests"));
  EXPECT_EQ(end_all(directory.path).value(), 0u);
  EXPECT_EQ(end_all(directory.path / "other").value(), 1u);
}

// Regression: Boost.Asio 1.81 completed the wait for a new pidfd with an event of a descriptor that had been
// closed in the same turn of the loop, and a guest that had just been launched was reported as ended.
TEST_F(QemuProcessTest, ANewProcessIsNotMistakenForAnOldOne) {
  std::unique_ptr<QemuProcess> current;
  int rounds = 0;
  std::function<void(const std::string&)> next = [&](const std::string&) {
    if (++rounds == 30) return;
    // Frees the descriptor that is just being handled, and registers others, as a relaunch does.
    boost::asio::post(loop.context, [&] {
      current.reset();
      auto made = QemuProcess::spawn(loop.context, shell("exec sleep 100"), [&](const std::string& how) {
        EXPECT_EQ(how, "killed by signal 9 (SIGKILL)");
        next(how);
      });
      ASSERT_TRUE(made);
      current = std::move(*made);
      boost::asio::post(loop.context, [&] { current->kill([](const std::string&) {}); });
    });
  };
  next("");
  ASSERT_TRUE(loop.until([&rounds] { return rounds == 30; }));
}

}  // namespace
}  // namespace understudy::qemu
