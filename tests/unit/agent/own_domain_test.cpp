// Applications that run as one user: none reads another's environment, memory or files.
#include "agent/own_domain.hpp"

#include "harness.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace understudy::agent {
namespace {

using test::Harness;
using test::script;
namespace from = protocol::from_agent;
namespace to = protocol::to_agent;

// What it can do to process P.
constexpr const char* kTry =
    "for what in environ mem maps exe root fd/0; do"
    "  if test $what = exe || test $what = root; then readlink /proc/$P/$what; else head -c 1 "
    "/proc/$P/$what; fi"
    "    > /dev/null 2>&1 && echo $what; "
    "done";

class OwnDomainTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "nobody else runs applications as another user";
    if (!has_domains()) GTEST_SKIP() << "this kernel has no Landlock of version 2";
    ::chmod(harness.files.path().c_str(), 0755);
    victim = script("exec sleep 60");
    victim.environment = {{"SECRET", "word"}};
    victim.user = "65533";
    thief = victim;
    thief.app = 0;
    thief.name = "thief";
    thief.ready = protocol::Ready::notify;
    thief.restart.attempts = 0;
  }
  // What the second application says that does this, with P the first one's main process.
  std::string said(const std::string& text) {
    const std::string pid = harness.files.path() + "/pid";
    thief.start[2] = "P=$(cat " + pid + "); " + text + "; echo done; exit 1";
    harness.welcome({victim, thief});
    harness.send(to::Start{1, 7, 0, {}});
    harness.files.write("pid", std::to_string(harness.hear<from::Serving>().pid));
    harness.send(to::Start{0, 7, 0, {}});
    return harness.hear<from::StartFailed>().evidence;
  }

  Harness harness;
  protocol::Application victim;
  protocol::Application thief;
};

TEST_F(OwnDomainTest, ANeighbourUnderTheSameUserReadsNothing) {
  EXPECT_EQ(said(kTry), "done\n");
}

TEST_F(OwnDomainTest, WhatItStartsItselfIsItsOwn) {
  EXPECT_EQ(said("sleep 60 & P=$!; " + std::string(kTry)), "environ\nmaps\nexe\nroot\nfd/0\ndone\n");
}

// The first version of Landlock refuses to rename from one directory to another: it is not used.
TEST_F(OwnDomainTest, FilesMoveBetweenDirectories) {
  const std::string place = harness.files.path() + "/place";
  ASSERT_EQ(::mkdir(place.c_str(), 0777), 0);
  ASSERT_EQ(::chmod(place.c_str(), 0777), 0);
  EXPECT_EQ(said("cd " + place +
                 " && mkdir a b && echo x > a/f && mv a/f b/g && ln b/g a/h && mv b a/ && "
                 "cat a/b/g a/h"),
            "x\nx\ndone\n");
}

TEST_F(OwnDomainTest, WhoSharesItsUserWithNobodyMayMountInItsNamespaces) {
  const std::string place = harness.files.path() + "/place";
  ASSERT_EQ(::mkdir(place.c_str(), 0777), 0);
  const std::string mount = "unshare --user --map-root-user --mount mount -t tmpfs none " + place;
  const std::string as_that_user = "setpriv --reuid 65533 --regid 65533 --clear-groups " + mount;
  if (std::system(as_that_user.c_str()) != 0) GTEST_SKIP() << "no user may make namespaces here";
  victim.user = "65532";
  EXPECT_EQ(said(mount + " && " + kTry + "; echo mounted"), "mounted\ndone\n");
}

}  // namespace
}  // namespace understudy::agent
