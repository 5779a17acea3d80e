#pragma once

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace understudy::agent::test {

// A directory that is gone when the test is.
class Directory {
 public:
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-agent.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] const std::string& path() const { return path_; }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + "/" + name).parent_path());
    std::ofstream(path_ + "/" + name) << text;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream file(path_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string path_;
};

// /sys/devices/system/memory of a guest with blocks of 128 MiB, the first of them online.
class MemoryDirectory : public Directory {
 public:
  static constexpr std::uint64_t kBlock = 128ULL << 20;

  explicit MemoryDirectory(const std::string& by_itself = "online_movable") {
    write("block_size_bytes", "8000000\n");
    write("auto_online_blocks", by_itself + "\n");
    set(0, "online\n");
    set_memory(128);
  }
  void set(std::uint64_t block, const std::string& state) {
    const std::string name = "memory" + std::to_string(block);
    write(name + "/state", state);
    write(name + "/valid_zones", block == 0 ? "DMA32\n" : "Movable\n");
  }
  [[nodiscard]] std::string state(std::uint64_t block) const {
    return read("memory" + std::to_string(block) + "/state");
  }
  void set_memory(std::uint64_t total_mib) {
    write("meminfo", "MemTotal: " + std::to_string(total_mib * 1024) +
                         " kB\nMemAvailable: " + std::to_string(total_mib * 512) + " kB\n");
  }
};

}  // namespace understudy::agent::test
