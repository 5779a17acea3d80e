#include "qemu/dump_store.hpp"

#include "loop.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

namespace understudy::qemu {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct DumpStoreTest : testing::Test {
  TemporaryDirectory base;
  config::Dumps settings;

  DumpStoreTest() { settings.directory = fs::path(base.path) / "deep" / "dumps"; }

  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& each : fs::directory_iterator(settings.directory))
      names.push_back(each.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  // A finished dump of so many bytes, written so long ago.
  [[nodiscard]] std::string old(const std::string& name, std::size_t bytes, std::chrono::hours ago) const {
    fs::create_directories(settings.directory);
    std::ofstream(settings.directory / name) << std::string(bytes, 'x');
    fs::last_write_time(settings.directory / name, fs::file_time_type::clock::now() - ago);
    return name;
  }
  fs::path dump(const std::string& guest, std::size_t bytes) const {
    const DumpStore store(settings);
    const auto part = store.begin(guest, 2, bytes);
    EXPECT_TRUE(part) << part.error().message;
    std::ofstream(part->path) << std::string(bytes, 'x');
    const auto file = store.finish(part->path);
    EXPECT_TRUE(file) << file.error().message;
    return file.value_or("");
  }
};

TEST_F(DumpStoreTest, IsForItsOwnerAloneAndHasItsNameOnlyWhenItIsWhole) {
  const DumpStore store(settings);
  const auto part = store.begin("alpha-1", 12, 100);
  ASSERT_TRUE(part) << part.error().message;
  EXPECT_THAT(part->path.filename().native(),
              testing::MatchesRegex("alpha-1-[0-9]+T[0-9]+Z-run12.vmcore.part"));
  struct stat info {};
  ASSERT_EQ(::stat(part->path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_EQ(::stat(settings.directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  const auto file = store.finish(part->path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->native() + ".part", part->path.native());
  EXPECT_THAT(files(), ElementsAre(file->filename().native()));
}

TEST_F(DumpStoreTest, KeepsTheNewestOfAllGuests) {
  settings.keep = 2;
  (void)old("alpha-20260101T000000Z-run1.vmcore", 10, std::chrono::hours(5));
  const auto kept = old("beta-20250101T000000Z-run7.vmcore", 10, std::chrono::hours(1));
  const auto file = dump("alpha", 10);
  EXPECT_THAT(files(), ElementsAre(file.filename().native(), kept));
}

TEST_F(DumpStoreTest, KeepsWithinItsBudgetAndAlwaysTheNewest) {
  settings.keep = 10;
  settings.budget_bytes = 100;
  (void)old("alpha-20260101T000000Z-run1.vmcore", 60, std::chrono::hours(2));
  const auto small = old("alpha-20260102T000000Z-run2.vmcore", 10, std::chrono::hours(1));
  const auto file = dump("beta", 80);
  EXPECT_THAT(files(), ElementsAre(small, file.filename().native()));
}

TEST_F(DumpStoreTest, TouchesNothingElse) {
  settings.keep = 1;
  const std::vector<std::string> others{"notes.vmcore", "alpha-20260101T000000Z-run.vmcore",
                                        "alpha-2026-run1.vmcore", "-20260101T000000Z-run1.vmcore",
                                        "alpha-20260101T000000Z-run1.vmcore.gz"};
  for (const std::string& other : others) (void)old(other, 10, std::chrono::hours(9));
  const auto directory = settings.directory / "alpha-20260101T000000Z-run3.vmcore";
  fs::create_directories(directory);
  fs::create_symlink("/etc/passwd", settings.directory / "alpha-20260101T000000Z-run4.vmcore");
  (void)dump("alpha", 10);
  EXPECT_EQ(files().size(), others.size() + 3);
}

TEST_F(DumpStoreTest, RefusesWhatDoesNotFit) {
  settings.budget_bytes = 100;
  auto part = DumpStore(settings).begin("alpha", 1, 101);
  ASSERT_FALSE(part);
  EXPECT_THAT(part.error().message, HasSubstr("raise budget in [dumps]"));
  settings.budget_bytes = 1ULL << 60;
  part = DumpStore(settings).begin("alpha", 1, 1ULL << 59);
  ASSERT_FALSE(part);
  EXPECT_THAT(part.error().message, HasSubstr("free, and a dump of"));
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(DumpStoreTest, SaysWhenItsDirectoryCannotBeMade) {
  std::ofstream(base.path / "file") << "x";
  settings.directory = base.path / "file" / "dumps";
  const auto part = DumpStore(settings).begin("alpha", 1, 100);
  ASSERT_FALSE(part);
  EXPECT_THAT(part.error().message, HasSubstr("cannot make the directory"));
}

TEST_F(DumpStoreTest, WhatAFormerDaemonLeftUnfinishedGoes) {
  (void)old("alpha-20260101T000000Z-run1.vmcore.part", 10, std::chrono::hours(1));
  const auto other = old("gamma-20260101T000000Z-run1.vmcore.part", 10, std::chrono::hours(1));
  const auto whole = old("alpha-20260101T000000Z-run1.vmcore", 10, std::chrono::hours(1));
  DumpStore(settings).clear_parts({"alpha", "beta"});
  EXPECT_THAT(files(), ElementsAre(whole, other));
}

}  // namespace
}  // namespace understudy::qemu
