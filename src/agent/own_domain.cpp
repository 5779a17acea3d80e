#include "agent/own_domain.hpp"

#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace understudy::agent {

namespace {

constexpr long kVersionWithRefer = 2;

}  // namespace

bool has_domains() {
  return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) >=
         kVersionWithRefer;
}

// The only right that has to be handled is the one that is refused where it is not; it is allowed everywhere.
bool enter_own_domain() {
  landlock_ruleset_attr handled{};
  handled.handled_access_fs = LANDLOCK_ACCESS_FS_REFER;
  const UniqueFd rules(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0)));
  const UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!rules || !root) return false;
  landlock_path_beneath_attr everywhere{};
  everywhere.allowed_access = LANDLOCK_ACCESS_FS_REFER;
  everywhere.parent_fd = root.get();
  return ::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &everywhere, 0) == 0 &&
         ::syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0;
}

}  // namespace understudy::agent
