#pragma once

#include "config/config.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

// What the files of an image are, and what is in them, as far as that can be seen without booting them.
namespace understudy::config {

enum class ImageKind { kernel, initramfs, disk };

// Why the file cannot be what it is used as, by its first bytes; empty: it can. "it is no squashfs file
// system (its first bytes are …)".
[[nodiscard]] std::string why_not_image(const std::filesystem::path& file, ImageKind kind);

// The files that a guest will find: those of the initramfs, and below /apps those of the disk.
class GuestTree {
 public:
  [[nodiscard]] static GuestTree of(const Image& image);

  enum class Found { yes, no, not_executable, unknown };
  [[nodiscard]] Found program(std::string_view path) const;
  // The names beside the path, where its folder is known; for a hint.
  [[nodiscard]] std::vector<std::string> siblings(std::string_view path) const;
  // What could not be looked into, and why; one sentence for each.
  [[nodiscard]] const std::vector<std::string>& not_looked_into() const { return unseen_; }

 private:
  struct Entry {
    char type = '-';  // as ls has it: d, l, -, …
    bool executable = false;
    std::string target;  // of a link
  };
  void read_initramfs(const std::filesystem::path& file);
  void read_disk(const std::filesystem::path& file);
  // The path with every link on the way followed; empty: there is no such path, or its links go round.
  [[nodiscard]] std::string resolved(std::string path) const;

  std::map<std::string, Entry> entries_;  // by absolute path, as the guest has it
  bool initramfs_seen_ = false;
  bool disk_seen_ = false;
  std::vector<std::string> unseen_;
};

}  // namespace understudy::config
