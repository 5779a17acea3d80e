#include "base/inherited_state.hpp"
#include "base/unique_fd.hpp"
#include "cli/cli.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

extern char** environ;

namespace understudy::cli {

namespace {

constexpr int kReadyFd = 3;  // where the daemon finds its end of the pipe

struct Spawned {
  pid_t pid = -1;
  UniqueFd ready;  // readable end
};

// The child's standard input is `input`, or nothing.
Result<Spawned> spawn(std::vector<std::string> args, const std::filesystem::path& log, int input = -1) {
  UniqueFd output;
  if (!log.empty()) {
    output = UniqueFd(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!output)
      return failure("cannot write the daemon's log " + log.string() + ": " + std::strerror(errno));
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return failure(std::string("cannot make a pipe: ") + std::strerror(errno));
  Spawned spawned{-1, UniqueFd(ends[0])};
  const UniqueFd theirs(ends[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (input >= 0) {
    posix_spawn_file_actions_adddup2(&actions, input, 0);
  } else {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  }
  if (!log.empty()) {
    posix_spawn_file_actions_adddup2(&actions, output.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawn_file_actions_adddup2(&actions, theirs.get(), kReadyFd);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  if (!log.empty()) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);

  std::vector<char*> argv;
  argv.reserve(args.size() + 1);
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const int error = ::posix_spawn(&spawned.pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return failure("cannot start " + args[0] + ": " + std::strerror(error));
  return spawned;
}

std::string read_to_end(int fd) {
  std::string text;
  char chunk[4096];
  for (;;) {
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
  }
}

UniqueFd text_in_memory(const std::string& text) {
  UniqueFd fd(::memfd_create("understudy.toml", MFD_CLOEXEC));
  std::size_t done = 0;
  while (fd && done < text.size()) {
    const ssize_t put = ::write(fd.get(), text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return UniqueFd();
    done += static_cast<std::size_t>(put);
  }
  if (fd) ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

}  // namespace

Result<std::filesystem::path> find_daemon() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "understudyd";
  if (!error && ::access(beside.c_str(), X_OK) == 0) return beside;
  return failure("understudyd is not beside " + self.string() + "; build or install it again");
}

Result<void> start_daemon(const config::Source& config, const std::filesystem::path& run_dir,
                          const std::string& accelerator) {
  const auto daemon = find_daemon();
  if (!daemon) return tl::unexpected(daemon.error());
  const auto file = absolute_path(config.regular ? config.file.string() : "/dev/stdin");
  if (!file) return tl::unexpected(file.error());
  const auto directory = absolute_path(config.directory.string());
  if (!directory) return tl::unexpected(directory.error());
  const auto dir = absolute_path(run_dir.string());
  if (!dir) return tl::unexpected(dir.error());
  const control::RunFiles files{run_dir};
  // What was read from a pipe is handed on as it was read.
  const auto text = config.regular ? UniqueFd() : text_in_memory(config.text);
  if (!config.regular && !text)
    return failure(std::string("no memory for the configuration: ") + std::strerror(errno));
  auto spawned = spawn({daemon->string(), "-f", *file, "--config-dir", *directory, "--run-dir", *dir,
                        "--accelerator", accelerator, "--ready-fd", std::to_string(kReadyFd)},
                       files.daemon_log(), text.get());
  if (!spawned) return tl::unexpected(spawned.error());
  const std::string said = read_to_end(spawned->ready.get());
  if (said == "ready\n") return {};
  int status = 0;
  ::waitpid(spawned->pid, &status, 0);
  return failure(said.empty() ? "understudyd ended at once; see " + files.daemon_log().string() : said);
}

Result<int> clean_up(const std::filesystem::path& run_dir) {
  const auto daemon = find_daemon();
  if (!daemon) return tl::unexpected(daemon.error());
  auto spawned = spawn({daemon->string(), "--clean-up", "--run-dir", run_dir.string()}, {});
  if (!spawned) return tl::unexpected(spawned.error());
  int status = 0;
  while (::waitpid(spawned->pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace understudy::cli
