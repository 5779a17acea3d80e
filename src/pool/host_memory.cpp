#include "pool/host_memory.hpp"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

namespace understudy::pool {

namespace {

std::string read_text(const std::filesystem::path& path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Bytes read_number(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  Bytes number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

Result<void> check_huge_pages(Bytes page, Bytes bytes) {
  const std::filesystem::path counts =
      "/sys/kernel/mm/hugepages/hugepages-" + std::to_string(page >> 10) + "kB";
  const Bytes free_pages = read_number(counts / "free_hugepages");
  const Bytes promised = read_number(counts / "resv_hugepages");
  const Bytes free_bytes = (free_pages - std::min(free_pages, promised)) * page;
  if (bytes <= free_bytes) return {};
  const Bytes wanted = read_number(counts / "nr_hugepages") + (bytes - free_bytes + page - 1) / page;
  return failure("the pool needs " + format_size(bytes) + " of huge pages, but only " +
                 format_size(free_bytes) + " are free; reserve more as root: echo " + std::to_string(wanted) +
                 " > " + (counts / "nr_hugepages").string() + ", or make [pool] memory smaller");
}

}  // namespace

Result<Bytes> parse_mem_available(std::string_view meminfo) {
  constexpr std::string_view kKey = "MemAvailable:";
  const auto at = meminfo.find(kKey);
  if (at == std::string_view::npos)
    return failure("/proc/meminfo has no MemAvailable; Linux 3.14 or later is needed");
  auto rest = meminfo.substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  Bytes kib = 0;
  const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), kib);
  if (code != std::errc() || end == rest.data())
    return failure("/proc/meminfo: MemAvailable is not a number");
  return kib << 10;
}

Result<void> check_room(const std::filesystem::path& directory, Bytes bytes) {
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0)
    return failure(directory.string() + ": " + std::strerror(errno));
  if (static_cast<unsigned long>(info.f_type) == HUGETLBFS_MAGIC)
    return check_huge_pages(static_cast<Bytes>(info.f_bsize), bytes);
  const auto available = parse_mem_available(read_text("/proc/meminfo"));
  if (!available) return failure(available.error().message);
  if (bytes > *available)
    return failure("the pool's areas need " + format_size(bytes) + " of memory, but the host has only " +
                   format_size(*available) + " available; end something else, or make [pool] memory smaller");
  const Bytes free_bytes = static_cast<Bytes>(info.f_bavail) * static_cast<Bytes>(info.f_bsize);
  if (info.f_blocks != 0 && bytes > free_bytes)
    return failure("the pool's areas need " + format_size(bytes) + ", but " + directory.string() +
                   " has only " + format_size(free_bytes) +
                   " left; remount that filesystem with a larger size=, or make " + "[pool] memory smaller");
  return {};
}

}  // namespace understudy::pool
