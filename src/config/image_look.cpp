#include "config/image_look.hpp"

#include "base/unique_fd.hpp"
#include "config/limits.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>

extern char** environ;

namespace understudy::config {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kApps = "/apps";  // where the guest mounts the disk
// A guest has file systems of its own there, or files that are only made while it runs.
constexpr std::array<std::string_view, 5> kMadeAtRuntime{"/dev/", "/proc/", "/run/", "/sys/", "/tmp/"};

// A bzImage says so at this offset.
constexpr std::size_t kBootHeaderAt = 0x202;
constexpr std::string_view kElf =
    "\x7f"
    "ELF";
constexpr std::array<std::string_view, 2> kCpio{"070701", "070702"};
constexpr std::array<std::string_view, 6> kCompressed{"\x1f\x8b",
                                                      "\x28\xb5\x2f\xfd",
                                                      std::string_view("\xfd"
                                                                       "7zXZ"),
                                                      "\x02\x21\x4c\x18",
                                                      "BZh",
                                                      std::string_view("\x89LZO")};

std::string first_bytes(const fs::path& file, std::size_t count) {
  std::ifstream in(file, std::ios::binary);
  std::string bytes(count, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  return bytes;
}

template <std::size_t N>
bool begins_with_one(std::string_view bytes, const std::array<std::string_view, N>& words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return bytes.starts_with(word); });
}

std::string in_hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes.substr(0, 4)) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text.empty() ? "it is empty" : "it begins with the bytes " + text;
}

// One header of a "newc" cpio archive: 13 numbers of 8 hexadecimal digits behind the magic.
struct CpioHeader {
  static constexpr std::size_t kBytes = 110;
  std::uint64_t mode = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t name_bytes = 0;

  static bool parse(const std::string& bytes, CpioHeader& into) {
    const auto number = [&](std::size_t index, std::uint64_t& value) {
      const char* from = bytes.data() + 6 + 8 * index;
      const auto [end, error] = std::from_chars(from, from + 8, value, 16);
      return error == std::errc() && end == from + 8;
    };
    return bytes.size() == kBytes && begins_with_one(bytes, kCpio) && number(1, into.mode) &&
           number(6, into.file_bytes) && number(11, into.name_bytes);
  }
};

constexpr std::uint64_t kTypeMask = 0170000;
constexpr std::uint64_t kLink = 0120000;
constexpr std::uint64_t kFolder = 0040000;

std::uint64_t padded(std::uint64_t bytes) {
  return (bytes + 3) / 4 * 4;
}

// What a program prints, or nothing: it is not there, does not end in time, or says that it failed.
struct Said {
  std::string text;
  bool started = false;
  bool succeeded = false;
};

Said said_by(std::vector<std::string> words) {
  Said said;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return said;
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t child = -1;
  said.started = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ) == 0;
  posix_spawn_file_actions_destroy(&actions);
  theirs.reset();
  if (!said.started) return said;
  const auto end = std::chrono::steady_clock::now() + kListingLimit;
  bool whole = false;
  while (!whole && said.text.size() < kMostListedBytes) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd on{ours.get(), POLLIN, 0};
    const int ready = left.count() > 0 ? ::poll(&on, 1, static_cast<int>(left.count())) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) break;
    char chunk[65536];
    const ssize_t got = ::read(ours.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    whole = got == 0;
    if (got > 0) said.text.append(chunk, static_cast<std::size_t>(got));
    if (got < 0) break;
  }
  if (!whole) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  said.succeeded = whole && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return said;
}

}  // namespace

std::string why_not_image(const fs::path& file, ImageKind kind) {
  const std::string bytes = first_bytes(file, kBootHeaderAt + 4);
  const std::string_view all(bytes);
  switch (kind) {
    case ImageKind::kernel:
      if (all.starts_with(kElf) || (all.size() > kBootHeaderAt && all.substr(kBootHeaderAt) == "HdrS"))
        return "";
      return "it is no kernel, neither vmlinux (ELF) nor bzImage: " + in_hex(all);
    case ImageKind::initramfs:
      if (begins_with_one(all, kCpio) || begins_with_one(all, kCompressed)) return "";
      return "it is no initramfs, neither a cpio archive nor a compressed one: " + in_hex(all);
    case ImageKind::disk:
      if (all.starts_with("hsqs")) return "";
      return "it is no squashfs file system: " + in_hex(all);
  }
  return "";
}

GuestTree GuestTree::of(const Image& image) {
  GuestTree tree;
  tree.read_initramfs(image.initramfs);
  tree.read_disk(image.disk);
  return tree;
}

void GuestTree::read_initramfs(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string bytes(CpioHeader::kBytes, '\0');
  std::uint64_t at = 0;
  while (in.seekg(static_cast<std::streamoff>(at)).read(bytes.data(), CpioHeader::kBytes)) {
    CpioHeader header;
    if (!CpioHeader::parse(bytes, header) || header.name_bytes == 0 || header.name_bytes > 4096) break;
    std::string name(header.name_bytes, '\0');
    in.read(name.data(), static_cast<std::streamsize>(name.size()));
    name.pop_back();  // its NUL
    if (name == "TRAILER!!!") {
      initramfs_seen_ = true;
      break;
    }
    Entry entry;
    const std::uint64_t data_at = padded(at + CpioHeader::kBytes + header.name_bytes);
    if ((header.mode & kTypeMask) == kLink && header.file_bytes <= 4096) {
      entry.type = 'l';
      entry.target.resize(header.file_bytes);
      in.seekg(static_cast<std::streamoff>(data_at))
          .read(entry.target.data(), static_cast<std::streamsize>(header.file_bytes));
    } else if ((header.mode & kTypeMask) == kFolder) {
      entry.type = 'd';
    }
    entry.executable = (header.mode & 0111) != 0;
    entries_[fs::path("/" + name).lexically_normal().string()] = std::move(entry);
    at = padded(data_at + header.file_bytes);
  }
  if (!initramfs_seen_)
    unseen_.push_back(
        fmt::format("{} was not looked into: it is compressed, or no plain cpio archive", file.string()));
}

void GuestTree::read_disk(const fs::path& file) {
  const Said said = said_by({"unsquashfs", "-ll", file.string()});
  if (!said.succeeded) {
    unseen_.push_back(fmt::format("{} was not looked into: {}", file.string(),
                                  said.started ? "unsquashfs cannot list it"
                                               : "unsquashfs is not installed (apt install squashfs-tools)"));
    return;
  }
  disk_seen_ = true;
  std::istringstream lines(said.text);
  std::string line;
  while (std::getline(lines, line)) {
    // drwxr-xr-x root/root   32 1970-01-01 00:00 squashfs-root/usr/bin -> target
    const std::size_t root = line.find("squashfs-root/");
    if (line.size() < 10 || root == std::string::npos) continue;
    std::string path = line.substr(root + std::string_view("squashfs-root").size());
    Entry entry;
    entry.type = line[0];
    entry.executable = line.find('x') < 10;
    if (const std::size_t arrow = path.find(" -> "); entry.type == 'l' && arrow != std::string::npos) {
      entry.target = path.substr(arrow + 4);
      path.resize(arrow);
    }
    entries_[std::string(kApps) + path] = std::move(entry);
  }
}

std::string GuestTree::resolved(std::string path) const {
  path = fs::path(path).lexically_normal().string();
  for (std::size_t links = 0; links <= kMostLinks; ++links) {
    std::size_t end = 0;
    bool followed = false;
    while (end != std::string::npos) {
      end = path.find('/', end + 1);
      const std::string front = path.substr(0, end);
      const auto found = entries_.find(front);
      if (found == entries_.end() && front != kApps) return "";
      if (found == entries_.end() || found->second.type != 'l') continue;
      const fs::path target = fs::path(front).parent_path() / found->second.target;
      path = (target.string() + (end == std::string::npos ? "" : path.substr(end)));
      path = fs::path(path).lexically_normal().string();
      followed = true;
      break;
    }
    if (!followed) return path;
  }
  return "";
}

GuestTree::Found GuestTree::program(std::string_view path) const {
  if (!initramfs_seen_ || !disk_seen_ || begins_with_one(path, kMadeAtRuntime)) return Found::unknown;
  const auto found = entries_.find(resolved(std::string(path)));
  if (found == entries_.end() || found->second.type == 'd') return Found::no;
  return found->second.executable ? Found::yes : Found::not_executable;
}

std::vector<std::string> GuestTree::siblings(std::string_view path) const {
  const std::string asked = fs::path(path).parent_path().string();
  const std::string folder = resolved(asked) + "/";
  std::vector<std::string> names;
  for (auto it = entries_.lower_bound(folder); it != entries_.end() && it->first.starts_with(folder); ++it) {
    const std::string name = it->first.substr(folder.size());
    if (it->second.type != 'd' && name.find('/') == std::string::npos) names.push_back(asked + "/" + name);
  }
  return names;
}

}  // namespace understudy::config
