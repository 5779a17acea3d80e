// A process that hangs in the kernel cannot be killed: it waits for a file system that does not answer. That
// is made for real here, with a file system of the test's own.
#include "base/unique_fd.hpp"
#include "loop.hpp"
#include "qemu/proc.hpp"
#include "qemu/qemu_process.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace understudy::qemu {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
namespace fs = std::filesystem;

// It is asked, and says nothing, until it goes out of scope.
class SilentFileSystem final {
 public:
  explicit SilentFileSystem(fs::path path)
      : path_(std::move(path)), device_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    fs::create_directory(path_);
    const std::string options =
        "fd=" + std::to_string(device_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    if (!device_ || ::mount("test", path_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
      why_not_ = std::strerror(errno);
      return;
    }
    mounted_ = true;
    if (!agree()) why_not_ = "the kernel does not speak to it";
  }
  ~SilentFileSystem() {
    answer_nobody_any_more();
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SilentFileSystem(const SilentFileSystem&) = delete;
  SilentFileSystem& operator=(const SilentFileSystem&) = delete;

  [[nodiscard]] const std::string& why_not() const { return why_not_; }
  // Whoever was asked about waits on.
  [[nodiscard]] bool is_asked_by(pid_t pid) {
    while (const auto request = read_request()) {
      if (static_cast<pid_t>(request->pid) == pid) return true;
    }
    return false;
  }
  void answer_nobody_any_more() { device_.reset(); }  // those who wait get an error

 private:
  std::optional<fuse_in_header> read_request() {
    pollfd ready{device_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 10'000) != 1) return std::nullopt;
    const ssize_t count = ::read(device_.get(), buffer_.data(), buffer_.size());
    fuse_in_header header{};
    if (count < static_cast<ssize_t>(sizeof header)) return std::nullopt;
    std::memcpy(&header, buffer_.data(), sizeof header);
    return header;
  }
  bool agree() {
    const auto request = read_request();
    if (!request || request->opcode != FUSE_INIT) return false;
    struct Reply {
      fuse_out_header header{};
      fuse_init_out body{};
    } reply;
    reply.header = {sizeof reply, 0, request->unique};
    reply.body.major = FUSE_KERNEL_VERSION;
    reply.body.minor = FUSE_KERNEL_MINOR_VERSION;
    reply.body.max_write = 4096;
    return ::write(device_.get(), &reply, sizeof reply) == static_cast<ssize_t>(sizeof reply);
  }

  fs::path path_;
  UniqueFd device_;
  bool mounted_ = false;
  std::string why_not_;
  std::vector<char> buffer_ = std::vector<char>(1 << 20);
};

TEST(UnkillableProcess, IsSaidAgainAndAgainAndNeverCalledStopped) {
  TemporaryDirectory directory;
  Loop loop;
  SilentFileSystem silent(directory.path / "silent");
  if (!silent.why_not().empty()) GTEST_SKIP() << "no file system of our own: " << silent.why_not();
  const SpawnSpec spec{{"cat", "--", (directory.path / "silent" / "x").string(), "-name",
                        name_option({"/run/understudy-test", "a", 1})},
                       directory.path / "log",
                       {}};
  bool ended = false;
  auto process = QemuProcess::spawn(loop.context, spec, [&](const std::string&) { ended = true; });
  ASSERT_TRUE(process) << process.error().message;
  const pid_t pid = (*process)->pid();
  ASSERT_TRUE(silent.is_asked_by(pid));

  // SIGSTOP does not reach it either.
  std::optional<Result<void>> held;
  (*process)->stop(milliseconds(50), [&](const Result<void>& result) { held = result; });
  ASSERT_TRUE(loop.until([&] { return held.has_value(); }));
  ASSERT_FALSE(*held);
  EXPECT_THAT(held->error().message, HasSubstr("not all of its threads stopped: thread"));

  std::vector<std::string> said;
  bool stopped = false;
  (*process)->tell_of_delay(milliseconds(50), milliseconds(20),
                            [&](const std::string& evidence) { said.push_back(evidence); });
  (*process)->kill([&](const std::string&) { stopped = true; });
  ASSERT_TRUE(loop.until([&] { return said.size() >= 3; }));
  EXPECT_FALSE(stopped) << "unknown is not stopped";
  EXPECT_FALSE(ended);
  EXPECT_THAT(said.back(),
              HasSubstr("process " + std::to_string(pid) + " was sent SIGKILL and has not ended"));
  EXPECT_THAT(said.back(), HasSubstr("(cat) is in state D, waits in the kernel and cannot be killed there"));

  silent.answer_nobody_any_more();
  ASSERT_TRUE(loop.until([&] { return stopped && ended; }));
  const std::size_t count = said.size();
  loop.run_for(milliseconds(100));
  EXPECT_EQ(said.size(), count);
}

}  // namespace
}  // namespace understudy::qemu
