#pragma once

#include "base/error.hpp"

#include <sys/types.h>

#include <string>
#include <string_view>

namespace understudy::agent {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home = "/";
};

// By name in an /etc/passwd text, or "1000" or "1000:1000". Read by hand: a static program has no getpwnam.
[[nodiscard]] Result<User> find_user(std::string_view wanted, std::string_view passwd);

}  // namespace understudy::agent
