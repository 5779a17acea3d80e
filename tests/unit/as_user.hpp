#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace understudy::test {

// Of the tests alone, as far as they know: a block of its own for every test program that sees others.
inline uid_t unused_uid() {
  return 200'000 + 8 * static_cast<uid_t>(::getpid() % 10'000);
}

// Runs `body` in a child that is this user, without capabilities; its failures are the test's. Who is not
// root is an ordinary user already, and runs it himself.
inline void as_user(uid_t uid, const std::function<void()>& body, const std::vector<gid_t>& groups = {}) {
  if (::geteuid() != 0) return body();
  const pid_t child = ::fork();
  if (child == 0) {
    // The last is what exec does for every process of an ordinary user.
    if (::setgroups(groups.size(), groups.data()) != 0 || ::setgid(uid) != 0 || ::setuid(uid) != 0 ||
        ::prctl(PR_SET_DUMPABLE, 1) != 0)
      ::_exit(3);
    SCOPED_TRACE("as uid " + std::to_string(uid));
    body();
    std::fflush(nullptr);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "failed as uid " << uid << ", see above";
}

}  // namespace understudy::test
