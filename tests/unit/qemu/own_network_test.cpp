// A program that an ordinary user's daemon starts in a network of its own.
#include "../as_user.hpp"
#include "../process_with_network.hpp"
#include "qemu/proc.hpp"
#include "qemu/spawn.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace understudy::qemu {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class OwnNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "understudy-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory = name;
    ASSERT_EQ(::chown(name.c_str(), uid, uid), 0);
    if (!understudy::test::ProcessWithNetwork(6379, "", uid, understudy::test::NetworkBy::its_user).ready())
      GTEST_SKIP() << "this user may not make networks";
  }
  void TearDown() override { fs::remove_all(directory); }
  // What the script says, and the log with it.
  [[nodiscard]] std::string say(const std::string& script) const {
    fs::remove(directory / "log");
    SpawnSpec spec{{"/bin/sh", "-c", script}, directory / "log", {}};
    spec.own_network = true;
    const auto pid = spawn_process(spec);
    if (!pid) return pid.error().message;
    ::waitpid(*pid, nullptr, 0);
    return read_proc_file(directory / "log");
  }

  const uid_t uid = ::geteuid() == 0 ? understudy::test::unused_uid() : ::geteuid();
  fs::path directory;
};

std::string namespace_of_this(const char* kind) {
  return fs::read_symlink(std::string("/proc/self/ns/") + kind);
}

TEST_F(OwnNetworkTest, AnOrdinaryUsersProgramHasOneAndIsItsUserStill) {
  understudy::test::as_user(uid, [&] {
    const std::string said =
        say("readlink /proc/self/ns/net /proc/self/ns/user /proc/self/ns/ipc; cat /proc/net/dev; "
            "echo is $(id -u):$(id -g); grep CapPrm /proc/self/status");
    EXPECT_THAT(said, Not(HasSubstr("in the host's network")));
    for (const char* kind : {"net", "user", "ipc"})
      EXPECT_THAT(said, Not(HasSubstr(namespace_of_this(kind))));
    EXPECT_THAT(said, HasSubstr("lo:"));
    EXPECT_THAT(said, HasSubstr("is " + std::to_string(uid) + ":" + std::to_string(::getegid())));
    EXPECT_THAT(said, HasSubstr("CapPrm:\t0000000000000000"));
  });
}

// /dev/kvm is its group's.
TEST_F(OwnNetworkTest, WhatItsGroupsMayOpenItStillOpens) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can have any group";
  const fs::path file = directory / "of-a-group";
  std::ofstream(file) << "opened";
  ASSERT_EQ(::chmod(file.c_str(), 0060), 0);
  ASSERT_EQ(::chown(file.c_str(), 0, uid + 1), 0);
  understudy::test::as_user(uid, [&] { EXPECT_THAT(say("cat " + file.string()), HasSubstr("opened")); },
                            {uid + 1});
  understudy::test::as_user(uid, [&] { EXPECT_THAT(say("cat " + file.string()), HasSubstr("denied")); });
}

TEST_F(OwnNetworkTest, WhereTheKernelForbidsItItIsInTheHostsAndSaysSo) {
  understudy::test::as_user(uid, [&] {
    // The limit of the namespace that we are in, and of no other.
    if (!take_own_network()) GTEST_SKIP() << "this user may not make networks";
    std::ofstream("/proc/sys/user/max_user_namespaces") << 0;
    const std::string said = say("readlink /proc/self/ns/net /proc/self/ns/user");
    EXPECT_THAT(said, HasSubstr("in the host's network"));
    for (const char* kind : {"net", "user"}) EXPECT_THAT(said, HasSubstr(namespace_of_this(kind)));
  });
}

// A user namespace can be had, and nobody can be named in it: as where AppArmor takes its capabilities.
TEST_F(OwnNetworkTest, WhereItCannotBeFinishedNothingOfItIsKept) {
  understudy::test::as_user(uid, [&] {
    ASSERT_EQ(::prctl(PR_SET_DUMPABLE, 0), 0);
    const std::string said = say("readlink /proc/self/ns/net /proc/self/ns/user; echo is $(id -u)");
    EXPECT_THAT(said, HasSubstr("in the host's network"));
    EXPECT_THAT(said, HasSubstr("is " + std::to_string(uid)));
    EXPECT_THAT(said, HasSubstr(fs::read_symlink("/proc/thread-self/ns/net").string()));
  });
}

}  // namespace
}  // namespace understudy::qemu
