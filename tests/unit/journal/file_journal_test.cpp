#include "journal/file_journal.hpp"

#include "../small_disk.hpp"
#include "journal/format.hpp"
#include "journal/record_json.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

namespace understudy::journal {
namespace {

using namespace core;

class FileJournalTest : public ::testing::Test {
 protected:
  FileJournalTest() {
    std::string name = (std::filesystem::temp_directory_path() / "journal-XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
    file_ = dir_ / "journal";
  }
  ~FileJournalTest() override { std::filesystem::remove_all(dir_); }

  std::unique_ptr<FileJournal> open() {
    auto journal = FileJournal::open(file_, names_);
    EXPECT_TRUE(journal) << journal.error().message;
    return journal ? std::move(*journal) : nullptr;
  }
  std::string refusal() {
    const auto journal = FileJournal::open(file_, names_);
    EXPECT_FALSE(journal);
    return journal ? "" : journal.error().message;
  }
  std::string text() {
    std::ostringstream out;
    out << std::ifstream(file_).rdbuf();
    return out.str();
  }
  void write(const std::string& text) { std::ofstream(file_, std::ios::trunc) << text; }

  static Record area(std::uint32_t id, AreaState state, std::optional<GuestRun> in) {
    return AreaRecord{AreaId{id}, state, state == AreaState::unused ? std::nullopt : std::optional(AppId{0}),
                      in, "default"};
  }
  static Record guest(std::uint32_t run) {
    return GuestRecord{GuestId{0}, run, GuestDurable::up, "said \"why\"\n"};
  }
  static Record app(Epoch epoch) {
    return AppRecord{AppId{0}, AppDurable::moving, epoch, GuestRun{GuestId{1}, 2},
                     "panic",  GuestId{0},         {},    {}};
  }

  std::filesystem::path dir_;
  std::filesystem::path file_;
  Names names_{4, 128_MiB, {"alpha", "beta"}, {"db", "web", "db (rehearsal)", "web (rehearsal)"}};
};

TEST_F(FileJournalTest, ReplaysTheLastRecordOfEveryRow) {
  const std::vector<Record> first{guest(1), app(1), area(3, AreaState::plugging, GuestRun{GuestId{0}, 1})};
  const std::vector<Record> second{app(2), area(3, AreaState::held, std::nullopt)};
  {
    const auto journal = open();
    ASSERT_TRUE(journal->append(first));
    ASSERT_TRUE(journal->append(second));
  }
  const auto rows = open()->rows();
  EXPECT_EQ(rows.size(), 3U);
  for (const Record& wanted : {guest(1), app(2), area(3, AreaState::held, std::nullopt)}) {
    EXPECT_NE(std::find(rows.begin(), rows.end(), wanted), rows.end());
  }
}

TEST_F(FileJournalTest, ALastLineTornAtAnyByteIsCutOffAndTheRestKept) {
  {
    const auto journal = open();
    ASSERT_TRUE(journal->append(std::vector<Record>{app(1)}));
  }
  const std::string kept = text();
  {
    const auto journal = open();
    ASSERT_TRUE(journal->append(std::vector<Record>{app(2), guest(7)}));
  }
  const std::string whole = text();
  for (std::size_t size = kept.size(); size < whole.size(); ++size) {
    write(whole.substr(0, size));
    {
      const auto journal = open();
      ASSERT_NE(journal, nullptr);
      EXPECT_EQ(journal->was_torn(), size > kept.size()) << size;
      EXPECT_EQ(journal->rows(), std::vector<Record>{app(1)}) << size;
      ASSERT_TRUE(journal->append(std::vector<Record>{app(3)}));
    }
    EXPECT_EQ(open()->rows(), std::vector<Record>{app(3)}) << size;
  }
}

TEST_F(FileJournalTest, DamageBeforeTheLastLineIsRefusedWithItsLineAndAWayOut) {
  {
    const auto journal = open();
    for (Epoch epoch = 1; epoch < 4; ++epoch) ASSERT_TRUE(journal->append(std::vector<Record>{app(epoch)}));
  }
  const std::string whole = text();
  const std::size_t second_line = whole.find('\n') + 1;
  const std::size_t third_line = whole.find('\n', second_line) + 1;
  for (std::size_t at = second_line; at + 1 < third_line; ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write(damaged);
    const std::string said = refusal();
    EXPECT_NE(said.find(file_.string() + ":2:"), std::string::npos) << said;
    EXPECT_NE(said.find("understudy down"), std::string::npos) << said;
    EXPECT_EQ(text(), damaged) << "a refused journal is left as it is";
  }
}

// Guests and applications are known by their names, in whatever order a file has them.
TEST_F(FileJournalTest, AnotherOrderIsReadUnderItsOwnNumbers) {
  const GuestRun beta{GuestId{1}, 2};
  { ASSERT_TRUE(open()->append(std::vector<Record>{app(1), guest(7), area(3, AreaState::engaged, beta)})); }
  const std::string before = text();
  names_.guests = {"gamma", "beta", "alpha"};
  names_.apps = {"queue", "db", "web", "db (rehearsal)"};
  const std::vector<Record> wanted{
      AreaRecord{AreaId{3}, AreaState::engaged, AppId{1}, GuestRun{GuestId{1}, 2}, "default"},
      GuestRecord{GuestId{2}, 7, GuestDurable::up, "said \"why\"\n"},
      AppRecord{AppId{1}, AppDurable::moving, 1, GuestRun{GuestId{1}, 2}, "panic", GuestId{2}, {}, {}}};
  {
    const auto journal = open();
    EXPECT_THAT(journal->rows(), testing::UnorderedElementsAreArray(wanted));
    EXPECT_TRUE(journal->gone().empty());
    EXPECT_EQ(text(), before) << "it is not touched before something is to be written";
    ASSERT_TRUE(journal->append(std::vector<Record>{guest(8)}));  // of gamma by now
  }
  EXPECT_EQ(open()->rows().size(), 4U);
  EXPECT_EQ(open()->former(), names_);
}

TEST_F(FileJournalTest, WhatIsNoMoreIsToldOfAndLeftOut) {
  const Record gone_app =
      AppRecord{AppId{1}, AppDurable::serving, 4, GuestRun{GuestId{0}, 1}, {}, {}, {}, {}};
  const Record its_area = AreaRecord{AreaId{2}, AreaState::held, AppId{1}, {}, "default"};
  const Record from_gone =
      AppRecord{AppId{0}, AppDurable::waiting, 1, {}, "panic", GuestId{1}, GuestId{1}, {}};
  { ASSERT_TRUE(open()->append(std::vector<Record>{gone_app, its_area, from_gone})); }
  names_.guests = {"alpha"};
  names_.apps = {"db"};
  const auto journal = open();
  EXPECT_THAT(journal->gone(), testing::UnorderedElementsAre(gone_app, its_area));
  EXPECT_THAT(
      journal->rows(),
      testing::ElementsAre(Record(AppRecord{AppId{0}, AppDurable::waiting, 1, {}, "panic", {}, {}, {}})));
}

TEST_F(FileJournalTest, APoolThatIsThereKeepsItsAreas) {
  { ASSERT_NE(open(), nullptr); }
  names_.areas = 9;
  { ASSERT_TRUE(open()->append(std::vector<Record>{guest(1)})) << "nothing had been made"; }
  names_.areas = 7;
  { ASSERT_TRUE(open()->append(std::vector<Record>{guest(2)})); }
  EXPECT_EQ(open()->former().areas, 9U);
}

// As a release wrote it that knew the checksum of its configuration alone.
TEST_F(FileJournalTest, AJournalOfTheFirstVersionIsReadUnderTheSameConfigurationAlone) {
  const std::string first = header_line_1(names_) + record_line(std::vector<Record>{app(1), guest(1)});
  write(first);
  {
    const auto journal = open();
    EXPECT_THAT(journal->rows(), testing::UnorderedElementsAre(app(1), guest(1)));
    EXPECT_EQ(text(), first);
    ASSERT_TRUE(journal->append(std::vector<Record>{app(2)}));
  }
  EXPECT_TRUE(text().starts_with(header_line(names_)));
  EXPECT_THAT(open()->rows(), testing::UnorderedElementsAre(app(2), guest(1)));
  write(first);
  names_.guests = {"beta", "alpha"};
  EXPECT_NE(refusal().find("another configuration"), std::string::npos);
}

TEST_F(FileJournalTest, AHeaderThatIsTornOrDamaged) {
  const std::string header = header_line(names_);
  for (std::size_t size = 0; size < header.size(); ++size) {
    write(header.substr(0, size));
    ASSERT_NE(open(), nullptr) << size;
    EXPECT_EQ(text(), header) << size;
  }
  for (std::size_t at = 20; at + 1 < header.size(); ++at) {
    std::string damaged = header;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write(damaged);
    EXPECT_NE(refusal().find(":1: "), std::string::npos) << at;
  }
}

TEST_F(FileJournalTest, AFileThatIsNoJournalIsRefused) {
  write("#!/bin/sh\necho this is somebody else's file, long enough to have a header\n");
  EXPECT_NE(refusal().find(":1: not an understudy journal"), std::string::npos);
}

TEST_F(FileJournalTest, AFileThatIsTooLargeIsRefusedBeforeItIsRead) {
  { ASSERT_NE(open(), nullptr); }
  std::filesystem::resize_file(file_, (64U << 20) + 1);  // sparse
  EXPECT_NE(refusal().find("too large to be a journal"), std::string::npos);
  std::filesystem::resize_file(file_, 64U << 20);  // a last line of zeroes: torn
  EXPECT_TRUE(open()->was_torn());
}

TEST_F(FileJournalTest, IsWrittenAnewBeforeItGrowsWithoutBound) {
  const auto journal = open();
  Epoch epoch = 0;
  std::vector<Record> many;
  for (std::uint32_t id = 0; id < 200; ++id) many.push_back(area(id, AreaState::held, std::nullopt));
  std::uintmax_t largest = 0;
  for (int i = 0; i < 600; ++i) {
    ASSERT_TRUE(journal->append(many));
    ASSERT_TRUE(journal->append(std::vector<Record>{app(++epoch)}));
    largest = std::max(largest, std::filesystem::file_size(file_));
  }
  EXPECT_LT(largest, 5U << 20);
  const auto rows = open()->rows();
  EXPECT_EQ(rows.size(), 201U);
  EXPECT_NE(std::find(rows.begin(), rows.end(), app(epoch)), rows.end());
  EXPECT_FALSE(std::filesystem::exists(file_.string() + ".new"));
}

TEST_F(FileJournalTest, AnAppendThatFailsLeavesTheJournalAsItWas) {
  const auto journal = open();
  ASSERT_TRUE(journal->append(std::vector<Record>{app(1)}));
  const std::string before = text();
  // A file that may not grow by more than a few bytes, as on a disk that fills up in the middle of a line.
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit full{before.size() + 10, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &full);
  const auto refused = journal->append(std::vector<Record>{app(2)});
  ::setrlimit(RLIMIT_FSIZE, &old);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(file_.string()), std::string::npos);
  EXPECT_EQ(text(), before);
  ASSERT_TRUE(journal->append(std::vector<Record>{app(3)}));
  EXPECT_EQ(open()->rows(), std::vector<Record>{app(3)});
}

TEST_F(FileJournalTest, AfterAFailedSyncTheFileIsNotTrustedAgain) {
  bool sync_fails = false;
  const auto sync = [&sync_fails](int fd) {
    if (!sync_fails) return ::fdatasync(fd);
    errno = EIO;
    return -1;
  };
  auto journal = FileJournal::open(file_, names_, sync);
  ASSERT_TRUE(journal) << journal.error().message;
  ASSERT_TRUE((*journal)->append(std::vector<Record>{app(1), guest(1)}));
  struct stat first {};
  ASSERT_EQ(::stat(file_.c_str(), &first), 0);
  const int keeps_the_inode = ::open(file_.c_str(), O_RDONLY);

  sync_fails = true;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto refused = (*journal)->append(std::vector<Record>{app(2)});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("cannot sync " + file_.string()), std::string::npos);
  }
  sync_fails = false;
  ASSERT_TRUE((*journal)->append(std::vector<Record>{app(2)}));
  struct stat second {};
  ASSERT_EQ(::stat(file_.c_str(), &second), 0);
  EXPECT_NE(second.st_ino, first.st_ino);
  EXPECT_THAT(open()->rows(), testing::UnorderedElementsAre(app(2), guest(1)));
  EXPECT_FALSE(std::filesystem::exists(file_.string() + ".new"));

  const auto written_anew = text();
  ASSERT_TRUE((*journal)->append(std::vector<Record>{app(3)}));
  EXPECT_TRUE(text().starts_with(written_anew)) << "it went on being written anew";
  ::close(keeps_the_inode);
}

class JournalOnASmallDisk : public FileJournalTest {
 protected:
  JournalOnASmallDisk() { file_ = disk_.path / "journal"; }
  // A line of 4 KiB: thousands of ordinary ones take the same way, and longer.
  static std::vector<Record> line(Epoch epoch) {
    return {AppRecord{AppId{0}, AppDurable::moving, epoch, {}, std::string(4000, 'x'), {}, {}, {}}};
  }
  SmallDisk disk_{"16m"};
};

TEST_F(JournalOnASmallDisk, AFullDiskDoesNotStopTheAppends) {
  if (!disk_.works) GTEST_SKIP() << "only root may mount a disk to fill";
  const auto journal = open();
  ASSERT_NE(journal, nullptr);
  EXPECT_EQ(journal->unreserved(), "");
  EXPECT_GT(disk_.fill(), 8U << 20) << "the disk was not filled by the journal";
  Epoch epoch = 0;
  // Beyond the growth at which it would be written anew: there is no room for another file.
  while (std::filesystem::file_size(file_) < (3U << 20)) ASSERT_TRUE(journal->append(line(++epoch)));
  EXPECT_GT(epoch, 700U);
  // To the end of the reserve; then it says so, and is whole.
  Result<void> done;
  while ((done = journal->append(line(epoch + 1)))) ++epoch;
  EXPECT_NE(done.error().message.find("No space left"), std::string::npos) << done.error().message;
  EXPECT_GT(std::filesystem::file_size(file_), (4U << 20) - 8192);
  EXPECT_FALSE(std::filesystem::exists(file_.string() + ".new"));
  disk_.empty();
  ASSERT_TRUE(journal->append(line(epoch + 2))) << "there is room again";
  EXPECT_EQ(journal->unreserved(), "");
  EXPECT_LT(std::filesystem::file_size(file_), 8192U) << "it was not written anew";
  EXPECT_EQ(open()->rows(), line(epoch + 2));
}

TEST_F(JournalOnASmallDisk, OneWithoutRoomForItsReserveIsRefusedWhenNewAndKeptWhenItIsThere) {
  if (!disk_.works) GTEST_SKIP() << "only root may mount a disk to fill";
  disk_.fill();
  EXPECT_NE(refusal().find("No space left"), std::string::npos) << "not even for its first line";
  std::filesystem::resize_file(disk_.path / "filler",
                               std::filesystem::file_size(disk_.path / "filler") - (1U << 20));
  EXPECT_NE(refusal().find("there is no room for the journal"), std::string::npos);
  disk_.empty();
  std::filesystem::remove(file_);
  { ASSERT_TRUE(open()->append(std::vector<Record>{app(1)})); }
  std::filesystem::copy_file(file_, disk_.path / "copy");  // as a former version left it: without a reserve
  std::filesystem::rename(disk_.path / "copy", file_);
  disk_.fill();
  const auto journal = open();
  ASSERT_NE(journal, nullptr);
  EXPECT_NE(journal->unreserved().find("No space left"), std::string::npos);
  EXPECT_EQ(journal->rows(), std::vector<Record>{app(1)});
  disk_.empty();
  ASSERT_TRUE(journal->append(std::vector<Record>{app(2)}));
  EXPECT_EQ(journal->unreserved(), "") << "reserved when there is room";
}

TEST(RecordJson, RefusesWhatIsNotARecord) {
  for (const char* text :
       {"", "{}", "[1]", "[{}]", "[{\"area\":-1}]",
        "[{\"guest\":0,\"run\":1,\"state\":\"flying\",\"why\":\"\"}]",
        "[{\"area\":4294967296,\"state\":\"unused\",\"user\":null,\"in\":null,\"domain\":\"\"}]",
        "[{\"app\":0,\"state\":\"idle\",\"epoch\":1.5,\"in\":null,\"cause\":\"\",\"from\":null}]",
        "[[[[[[[[]]]]]]]]",
        // Found when fuzz_journal was written: read by way of a double, of which 2^64 has no value to be cast
        // to.
        "[{\"area\":18446744073709551616,\"state\":\"unused\",\"user\":null,\"in\":null,\"domain\":\"\"}]",
        "[{\"area\":1.0,\"state\":\"unused\",\"user\":null,\"in\":null,\"domain\":\"\"}]",
        "[{\"app\":0,\"state\":\"moving\",\"epoch\":1,\"in\":[0],\"cause\":\"\",\"from\":null}]"}) {
    EXPECT_FALSE(decode(text)) << text;
  }
}

}  // namespace
}  // namespace understudy::journal
