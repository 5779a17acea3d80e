#include "config/guest_users.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace understudy::config {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// Two guests, and what stands under [qemu].
tl::expected<Config, Errors> two_guests(const std::string& qemu, const std::string& images = "/no/such") {
  return parse("[qemu]\n" + qemu + "\n[pool]\nmemory = \"1 GiB\"\n[image]\nkernel = \"" + images +
                   "/k\"\ninitramfs = \"" + images + "/i\"\ndisk = \"" + images +
                   "/d\"\n[[guest]]\nname = \"a\"\n[[guest]]\nname = \"b\"\n[[application]]\nname = \"app\"\n"
                   "guests = [\"a\", \"b\"]\nmemory = \"128 MiB\"\nstart = [\"/app\"]\n",
               "u.toml");
}

std::string first_error(const std::string& qemu) {
  const auto config = two_guests(qemu);
  return config ? "" : config.error()[0];
}

TEST(GuestUsers, NumbersThatOthersAreGivenAreRefused) {
  for (const char* uid : {"1", "999", "1000", "59999", "60001", "60577", "61182", "65534", "65535", "524286",
                          "1000000", "2147483646", "4294967294", "4294967295"})
    EXPECT_THAT(first_error(std::string("first_uid = ") + uid),
                HasSubstr("u.toml:2:13: the uids " + std::string(uid)))
        << uid;
  EXPECT_THAT(first_error("first_uid = 0"), HasSubstr("u.toml:2:13: first_uid"));
  EXPECT_THAT(first_error("first_uid = 4294967296"), HasSubstr("u.toml:2:13: first_uid"));
  // Two guests and one for trials.
  for (const char* uid : {"60578", "61181", "65536", "99997", "524285", "1879048192", "2147483645"})
    EXPECT_EQ(first_error(std::string("first_uid = ") + uid), "") << uid;
}

TEST(GuestUsers, TheOptOutIsSpeltOutAndContradictsANumber) {
  EXPECT_EQ(first_error("run_as = \"daemon\""), "");
  EXPECT_THAT(first_error("run_as = \"root\""), HasSubstr("write \"own-users\" or \"daemon\""));
  EXPECT_THAT(first_error("run_as = \"daemon\"\nfirst_uid = 70000"),
              HasSubstr("u.toml:3:13: first_uid has no meaning"));
}

TEST(GuestUsers, EveryGuestHasItsOwnAndTwoRunDirectoriesHaveOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has other users to give";
  const auto config = two_guests("");
  ASSERT_TRUE(config);
  const auto uids = guest_uids(*config, "/run/understudy");
  ASSERT_TRUE(uids);
  EXPECT_EQ(guest_uids(*config, "/run/understudy")->first, uids->first) << "a later daemon finds others";
  EXPECT_NE(guest_uids(*config, "/run/other")->first, uids->first);
  EXPECT_EQ(uids->of({0}), uids->first);
  EXPECT_EQ(uids->of({1}), uids->first + 1);
  EXPECT_EQ(uids->trial(), uids->first + 2);
  for (int i = 0; i < 1000; ++i) {
    const auto other = guest_uids(*config, "/run/" + std::to_string(i));
    EXPECT_GE(other->first, 65536u);
    EXPECT_LE(other->first + 127, 99999u);
    EXPECT_EQ((other->first - 65536) % 128, 0u) << "blocks overlap";
  }
  EXPECT_EQ(guest_uids(*two_guests("first_uid = 70000"), "/run/understudy")->first, 70000u);
  EXPECT_FALSE(guest_uids(*two_guests("run_as = \"daemon\""), "/run/understudy"));
}

TEST(GuestUsers, AGuestThatLivesKeepsItsOwnAndNobodyElseGetsIt) {
  using Uids = std::vector<std::uint32_t>;
  const GuestUids uids{65536, 3};
  EXPECT_EQ(assign_uids(uids, {"a", "b", "c"}, {}), (Uids{65536, 65537, 65538}));
  EXPECT_EQ(assign_uids(uids, {"b", "c", "a"}, {{"a", 65536}, {"b", 65537}}), (Uids{65537, 65538, 65536}));
  EXPECT_EQ(assign_uids(uids, {"new", "a"}, {{"a", 65536}}), (Uids{65537, 65536}));
  EXPECT_EQ(assign_uids(uids, {"a"}, {{"gone", 65536}}), (Uids{65537}));
  EXPECT_EQ(assign_uids({70000, 2}, {"a", "b"}, {{"a", 65536}, {"b", 70000}}), (Uids{70001, 70000}))
      << "first_uid was changed: a's next run has another";
}

TEST(GuestUsers, OnlyRootHasUsersToGive) {
  if (::geteuid() == 0) GTEST_SKIP() << "this is root";
  EXPECT_FALSE(guest_uids(*two_guests(""), "/run/understudy"));
}

TEST(GuestUsers, AnImageThatTheyCouldNotReadIsNamedWithTheRemedy) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has other users to give";
  std::string directory = (std::filesystem::temp_directory_path() / "us-config-XXXXXX").string();
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  for (const char* file : {"/k", "/i", "/d"}) {
    std::ofstream(directory + file) << "image";
    ASSERT_EQ(::chmod((directory + file).c_str(), 0640), 0);
  }
  const auto said = [&](const std::string& qemu) {
    return check_host(*two_guests(qemu, directory), {.memory = false});
  };
  EXPECT_THAT(said(""), Contains(HasSubstr("u.toml:1:1: the kernel " + directory + "/k cannot be read")));
  EXPECT_THAT(said(""),
              Contains(HasSubstr("(its mode is 0640); `chmod o+r " + directory + "/i`, or write run_as")));
  EXPECT_THAT(said(""), Not(Contains(HasSubstr(directory + "/d")))) << "it is used by its descriptor";
  EXPECT_THAT(said("run_as = \"daemon\""), Not(Contains(HasSubstr("cannot be read"))));
  ASSERT_EQ(::chmod((directory + "/k").c_str(), 0644), 0);
  EXPECT_THAT(said(""), Not(Contains(HasSubstr("kernel"))));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace understudy::config
