#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace understudy {

// A disk of a few MiB that can really be filled: a tmpfs in a mount namespace of this process, so that
// nothing is left when the process ends, however it does. Only root can have one: `works` says whether it is
// there.
class SmallDisk final {
 public:
  explicit SmallDisk(const std::string& size) {
    std::string name = (std::filesystem::temp_directory_path() / "small-disk-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path = name;
    works = ::unshare(CLONE_NEWNS) == 0 &&
            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            ::mount("small-disk", path.c_str(), "tmpfs", 0, ("mode=0700,size=" + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (works) ::umount2(path.c_str(), MNT_DETACH);
    ::rmdir(path.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  // To the last byte. Returns how many it took.
  std::size_t fill() {
    const std::vector<char> zeroes(4096);
    const int fd = ::open((path / "filler").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    std::size_t sum = 0;
    for (ssize_t put = 0; (put = ::write(fd, zeroes.data(), zeroes.size())) > 0;)
      sum += static_cast<std::size_t>(put);
    ::close(fd);
    return sum;
  }
  void empty() { ::unlink((path / "filler").c_str()); }

  std::filesystem::path path;
  bool works = false;
};

}  // namespace understudy
