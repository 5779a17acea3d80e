// A configuration that was changed while guests run: what is refused, and with which words.
#include "config/changes.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using core::AppDurable;
using core::AppId;
using core::AreaId;
using core::AreaState;
using core::GuestDurable;
using core::GuestId;
using core::GuestRun;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct File {
  std::string pool = "memory = \"2 GiB\"";
  std::vector<std::string> guests{"alpha", "beta"};
  std::vector<std::string> applications{"db", "web"};
  std::string of_guests = "";
};

Config parsed(const File& file) {
  std::string text =
      "[pool]\n" + file.pool + "\n[image]\nkernel = \"/k\"\ninitramfs = \"/i\"\ndisk = \"/d\"\n";
  for (const std::string& name : file.guests) text += "[[guest]]\nname = \"" + name + "\"\n" + file.of_guests;
  for (const std::string& name : file.applications) {
    text += fmt::format(
        "[[application]]\nname = \"{}\"\nguests = [\"{}\"]\nmemory = \"100 MiB\"\nstart = [\"/bin/true\"]\n",
        name, file.guests[0]);
  }
  auto config = parse(text, "u.toml");
  if (config) return *config;
  ADD_FAILURE() << testing::PrintToString(config.error());
  return {};
}

Left left_of(const File& file) {
  Left left;
  left.names = core::names_of(core::with_rehearsals(parsed(file).setup()));
  for (const std::string& guest : file.guests) left.base_bytes[guest] = 128_MiB;
  left.pool = parsed(file).pool;
  return left;
}

core::Record serving(std::uint32_t app) {
  return core::AppRecord{AppId{app}, AppDurable::serving, 1, GuestRun{GuestId{0}, 1}, {}, {}, {}, {}};
}

TEST(Changes, WhatIsKnownByNameOrHasNothingIsNoTrouble) {
  const Left left = left_of({});
  EXPECT_THAT(what_stands_in_the_way(parsed({}), left), IsEmpty());
  EXPECT_THAT(
      what_stands_in_the_way(parsed({.guests = {"beta", "alpha"}, .applications = {"web", "db"}}), left),
      IsEmpty());
  EXPECT_THAT(what_stands_in_the_way(parsed({.applications = {"new", "db", "web"}}), left), IsEmpty());
  EXPECT_THAT(what_stands_in_the_way(
                  parsed({.pool = "memory = \"4 GiB\"", .guests = {"gamma", "alpha", "beta"}}), left),
              IsEmpty());
  Left with_rest = left;
  with_rest.gone = {core::AppRecord{AppId{1}, AppDurable::idle, 3, {}, {}, {}, {}, {}},
                    core::GuestRecord{GuestId{1}, 2, GuestDurable::off, "", false}};
  EXPECT_THAT(what_stands_in_the_way(parsed({.guests = {"alpha"}, .applications = {"db"}}), with_rest),
              IsEmpty());
}

TEST(Changes, AnApplicationThatIsGoneAndHoldsSomethingIsNamed) {
  Left left = left_of({});
  left.gone = {serving(1)};
  EXPECT_THAT(what_stands_in_the_way(parsed({.applications = {"db"}}), left),
              ElementsAre(AllOf(StartsWith("u.toml:12:"), HasSubstr("application \"web\" is not in the file"),
                                HasSubstr("`understudy down`"))));
  left.gone = {core::AreaRecord{AreaId{0}, AreaState::held, AppId{1}, {}, "default"},
               core::AreaRecord{AreaId{1}, AreaState::held, AppId{1}, {}, "default"}};
  EXPECT_THAT(
      what_stands_in_the_way(parsed({.applications = {"db", "site"}}), left),
      ElementsAre(AllOf(HasSubstr("it has 256 MiB of the pool"), HasSubstr("\"site\" is new there"))));
}

TEST(Changes, AGuestThatIsGoneAndLivesIsNamed) {
  Left left = left_of({});
  left.gone = {core::GuestRecord{GuestId{1}, 2, GuestDurable::up, "", true}};
  EXPECT_THAT(
      what_stands_in_the_way(parsed({.guests = {"alpha"}}), left),
      ElementsAre(AllOf(StartsWith("u.toml:8:"), HasSubstr("guest \"beta\" is not in the file any more"))));
}

TEST(Changes, AreasOfAnotherSizeOrMaterialAreRefused) {
  const Left left = left_of({});
  EXPECT_THAT(what_stands_in_the_way(parsed({.pool = "memory = \"2 GiB\"\narea_size = \"256 MiB\""}), left),
              ElementsAre(AllOf(StartsWith("u.toml:3:"), HasSubstr("area_size is 256 MiB"),
                                HasSubstr("128 MiB each"))));
  EXPECT_THAT(
      what_stands_in_the_way(parsed({.pool = "memory = \"2 GiB\"\ndirectory = \"/elsewhere\""}), left),
      ElementsAre(AllOf(StartsWith("u.toml:3:"), HasSubstr("made of tmpfs, and the file says tmpfs in "
                                                           "/elsewhere"))));
}

TEST(Changes, AreasThatWereMadeMustFitIntoTheBudget) {
  const Left left = left_of({});  // 12 areas of 128 MiB and two guests with 224 MiB each: 1984 MiB
  EXPECT_THAT(what_stands_in_the_way(parsed({.pool = "memory = \"3 GiB\""}), left), IsEmpty());
  EXPECT_THAT(what_stands_in_the_way(parsed({.pool = "memory = \"1 GiB\""}), left),
              ElementsAre(AllOf(StartsWith("u.toml:2:"), HasSubstr("12 areas of 128 MiB"))));
  EXPECT_THAT(
      what_stands_in_the_way(parsed({.of_guests = "base_memory = \"256 MiB\"\n"}), left),
      ElementsAre(AllOf(StartsWith("u.toml:2:"), HasSubstr("line 9 (base_memory), line 12 (base_memory)"))));
  Left large = left;
  for (auto& [name, bytes] : large.base_bytes) bytes = 512_MiB;
  EXPECT_THAT(what_stands_in_the_way(parsed({}), large), ElementsAre(HasSubstr("are needed")))
      << "a guest that lives has what it was started with";
}

}  // namespace
}  // namespace understudy::config
