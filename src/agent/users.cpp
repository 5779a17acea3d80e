#include "agent/users.hpp"

#include "base/kernel_files.hpp"

#include <algorithm>
#include <array>

namespace understudy::agent {

namespace {

constexpr std::uint64_t kMaxId = 0xfffffffe;  // -1 means "leave as it is" to the kernel

// name:password:uid:gid:comment:home:shell
std::array<std::string_view, 7> split(std::string_view line) {
  std::array<std::string_view, 7> fields;
  for (auto& field : fields) {
    field = line.substr(0, line.find(':'));
    line.remove_prefix(std::min(field.size() + 1, line.size()));
  }
  return fields;
}

}  // namespace

Result<User> find_user(std::string_view wanted, std::string_view passwd) {
  while (!passwd.empty()) {
    const std::string_view line = passwd.substr(0, passwd.find('\n'));
    passwd.remove_prefix(std::min(line.size() + 1, passwd.size()));
    const auto fields = split(line);
    if (fields[0] != wanted || wanted.empty()) continue;
    const auto uid = parse_number(fields[2]);
    const auto gid = parse_number(fields[3]);
    if (!uid || !gid || *uid > kMaxId || *gid > kMaxId) break;
    return User{std::string(wanted), static_cast<uid_t>(*uid), static_cast<gid_t>(*gid),
                fields[5].empty() ? "/tmp" : std::string(fields[5])};
  }
  const std::size_t colon = wanted.find(':');
  const auto uid = parse_number(wanted.substr(0, colon));
  const auto gid = colon == std::string_view::npos ? uid : parse_number(wanted.substr(colon + 1));
  if (uid && gid && *uid <= kMaxId && *gid <= kMaxId) {
    return User{std::string(wanted), static_cast<uid_t>(*uid), static_cast<gid_t>(*gid), "/tmp"};
  }
  return failure(
      "the user \"" + std::string(wanted) +
      "\" is not in the guest's /etc/passwd; set `user` of the application to one that is, or to a number");
}

}  // namespace understudy::agent
