#include "config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kSmall = R"(
[pool]
memory = "1600 MiB"
[image]
kernel = "vmlinux"
initramfs = "/boot/initramfs"
disk = "../apps"
[[guest]]
name = "alpha"
[[guest]]
name = "beta"
[[application]]
name = "redis"
guests = ["beta", "alpha"]
memory = "1 GiB"
start = ["/usr/bin/redis-server"]
)";

Config good(const std::string& text) {
  auto config = parse(text, "/etc/understudy/understudy.toml");
  if (!config) {
    for (const std::string& error : config.error()) ADD_FAILURE() << error;
    return {};
  }
  return *config;
}

Errors errors(const std::string& text) {
  const auto config = parse(text, "u.toml");
  return config ? Errors{} : config.error();
}

// A directory that is gone when the test ends.
class Directory {
 public:
  Directory() {
    std::string name = (fs::temp_directory_path() / "understudy-config-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  [[nodiscard]] fs::path write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
    return path_ / name;
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(Config, Dumps) {
  const Config plain = good(kSmall);
  EXPECT_EQ(plain.dumps.directory, "/etc/understudy/dumps");
  EXPECT_EQ(plain.dumps.keep, 3U);
  EXPECT_EQ(plain.dumps.limit, seconds(60));
  EXPECT_FALSE(plain.setup().guests[0].dump);

  std::string text = kSmall;
  text.replace(text.find("name = \"beta\""), 13, "name = \"beta\"\ncrash_dump = true");
  const Config config = good(text + R"(
[dumps]
directory = "../cores"
keep = 1
budget = "1 GiB"
limit = "5 s"
)");
  EXPECT_EQ(config.dumps.directory, "/etc/cores");
  EXPECT_EQ(config.dumps.keep, 1U);
  EXPECT_EQ(config.dumps.budget_bytes, 1_GiB);
  EXPECT_EQ(config.dumps.limit, seconds(5));
  EXPECT_FALSE(config.setup().guests[0].dump);
  EXPECT_TRUE(config.setup().guests[1].dump);
}

TEST(Config, Hooks) {
  EXPECT_THAT(good(kSmall).hooks, IsEmpty());
  const Config config = good(std::string(kSmall) + R"(
[[hook]]
on = ["takeover-done", "guest-panicked"]
command = ["/usr/bin/logger", "-t", "understudy"]
[[hook]]
on = ["*"]
command = ["/bin/true"]
limit = "500 ms"
)");
  ASSERT_EQ(config.hooks.size(), 2U);
  EXPECT_THAT(config.hooks[0].on, ElementsAre("takeover-done", "guest-panicked"));
  EXPECT_THAT(config.hooks[0].command, ElementsAre("/usr/bin/logger", "-t", "understudy"));
  EXPECT_EQ(config.hooks[0].limit, seconds(10));
  EXPECT_EQ(config.hooks[1].limit, milliseconds(500));
}

TEST(Config, ThereMayBeSixtyFourHooks) {
  std::string text = kSmall;
  for (int i = 0; i < 64; ++i) text += "[[hook]]\non = [\"*\"]\ncommand = [\"/bin/true\"]\n";
  EXPECT_EQ(good(text).hooks.size(), 64U);
  EXPECT_THAT(errors(text + "[[hook]]\non = [\"*\"]\ncommand = [\"/bin/true\"]\n"),
              ElementsAre(HasSubstr("this is hook number 65")));
}

TEST(Config, DefaultsAreFilledIn) {
  const Config config = good(kSmall);
  EXPECT_EQ(config.host.accelerator, Accelerator::automatic);
  EXPECT_EQ(config.pool.memory_bytes, 1600_MiB);
  EXPECT_EQ(config.pool.area_bytes, 128_MiB);
  EXPECT_EQ(config.pool.backing, Backing::tmpfs);
  EXPECT_TRUE(config.pool.directory.empty());
  EXPECT_TRUE(config.pool.reserve);
  ASSERT_EQ(config.guests.size(), 2u);
  EXPECT_EQ(config.guests[0].base_bytes, 128_MiB);
  EXPECT_EQ(config.guests[0].trust_domain, "default");
  ASSERT_EQ(config.applications.size(), 1u);
  const Application& redis = config.applications[0];
  EXPECT_THAT(redis.guests, ElementsAre(core::GuestId{1}, core::GuestId{0}));
  EXPECT_EQ(redis.minimum_bytes, 1_GiB);
  EXPECT_EQ(redis.maximum_bytes, 1_GiB);
  EXPECT_FALSE(redis.hot_standby);
  EXPECT_FALSE(redis.address.has_value());
  EXPECT_EQ(redis.health.kind, HealthKind::process);
}

TEST(Config, PathsAreTakenFromTheFilesDirectory) {
  const Image image = good(kSmall).guests[0].image;
  EXPECT_EQ(image.kernel, "/etc/understudy/vmlinux");
  EXPECT_EQ(image.initramfs, "/boot/initramfs");
  EXPECT_EQ(image.disk, "/etc/apps");
}

TEST(Config, EveryKeyIsRead) {
  const Config config = good(R"(
[host]
accelerator = "tcg"
[pool]
memory = "8 GiB"
area_size = "256 MiB"
backing = "hugetlbfs"
directory = "/dev/hugepages"
reserve = false
[image]
kernel = "/k"
initramfs = "/i"
disk = "/d"
[[guest]]
name = "alpha"
base_memory = "256 MiB"
overhead = "64 MiB"
vcpus = 2
slots = 12
trust_domain = "red"
image = { kernel = "/k2" }
heartbeat = { interval = "20 ms", limit = "200 ms", confirm = "100 ms", silent_agent_limit = "0 s" }
boot_limit = "10 s"
[[guest]]
name = "beta"
base_memory = "256 MiB"
[[application]]
name = "db"
guests = ["alpha", "beta"]
memory = "1 GiB"
minimum_memory = "512 MiB"
maximum_memory = "2 GiB"
hot_standby = true
priority = -3
vcpus = 4
start = ["/bin/db", "--x", ""]
prepare = ["/bin/cat", "/db"]
environment = { A = "1", B_2 = "" }
user = "db"
ready = "notify"
start_limit = "1 min"
stop_limit = "2 s"
release_limit = "500 ms"
on_release_limit = "take-part"
preempt = true
flap = { takeovers = 2, window = "1 min" }
[application.address]
listen = "[0::1]:5432"
port = 5433
while_down = "refuse"
wait_limit = "3 s"
reach_check = false
[application.health]
kind = "exec"
command = ["/bin/check"]
interval = "100 ms"
limit = "200 ms"
failures = 2
[application.restart]
attempts = 0
window = "30 s"
delay = "1 s"
maximum_delay = "8 s"
first = "takeover"
)");
  EXPECT_EQ(config.host.accelerator, Accelerator::tcg);
  EXPECT_EQ(config.pool.area_bytes, 256_MiB);
  EXPECT_EQ(config.pool.backing, Backing::hugetlbfs);
  EXPECT_EQ(config.pool.directory, "/dev/hugepages");
  EXPECT_FALSE(config.pool.reserve);
  ASSERT_EQ(config.guests.size(), 2u);
  const Guest& alpha = config.guests[0];
  EXPECT_EQ(alpha.base_bytes, 256_MiB);
  EXPECT_EQ(alpha.overhead_bytes, 64_MiB);
  EXPECT_EQ(alpha.vcpus, 2u);
  EXPECT_EQ(alpha.slots, 12u);
  EXPECT_EQ(alpha.trust_domain, "red");
  EXPECT_EQ(alpha.image.kernel, "/k2");
  EXPECT_EQ(alpha.image.disk, "/d");
  EXPECT_EQ(config.guests[1].image.kernel, "/k");
  EXPECT_EQ(alpha.heartbeat.interval, milliseconds(20));
  EXPECT_EQ(alpha.heartbeat.limit, milliseconds(200));
  EXPECT_EQ(alpha.heartbeat.confirm, milliseconds(100));
  EXPECT_EQ(alpha.heartbeat.silent_agent_limit, seconds(0));
  EXPECT_EQ(alpha.boot_limit, seconds(10));
  ASSERT_EQ(config.applications.size(), 1u);
  const Application& db = config.applications[0];
  EXPECT_EQ(db.minimum_bytes, 512_MiB);
  EXPECT_EQ(db.maximum_bytes, 2_GiB);
  EXPECT_TRUE(db.hot_standby);
  EXPECT_EQ(db.priority, -3);
  EXPECT_EQ(db.vcpus, 4u);
  EXPECT_THAT(db.start, ElementsAre("/bin/db", "--x", ""));
  EXPECT_THAT(db.prepare, ElementsAre("/bin/cat", "/db"));
  EXPECT_EQ(db.environment, (std::map<std::string, std::string>{{"A", "1"}, {"B_2", ""}}));
  EXPECT_EQ(db.user, "db");
  EXPECT_TRUE(db.ready_notify);
  EXPECT_EQ(db.start_limit, seconds(60));
  EXPECT_EQ(db.stop_limit, seconds(2));
  EXPECT_EQ(db.release_limit, milliseconds(500));
  EXPECT_EQ(db.on_release_limit, core::OnReleaseLimit::take_part);
  EXPECT_TRUE(db.preempt);
  EXPECT_EQ(db.flap_takeovers, 2u);
  EXPECT_EQ(db.flap_window, seconds(60));
  const core::AppSetup setup = config.setup().apps.at(0);
  EXPECT_EQ(setup.on_release_limit, core::OnReleaseLimit::take_part);
  EXPECT_TRUE(setup.preempts);
  EXPECT_EQ(setup.flap_takeovers, 2u);
  EXPECT_EQ(setup.flap_window, seconds(60));
  ASSERT_TRUE(db.address.has_value());
  EXPECT_EQ(db.address->listen_host, "::1");
  EXPECT_EQ(db.address->listen_port, 5432);
  EXPECT_EQ(db.address->listen_text(), "[::1]:5432");
  EXPECT_EQ(db.address->guest_port, 5433);
  EXPECT_EQ(db.address->while_down, WhileDown::refuse);
  EXPECT_EQ(db.address->wait_limit, seconds(3));
  EXPECT_FALSE(db.address->reach_check);
  EXPECT_EQ(db.health.kind, HealthKind::exec);
  EXPECT_THAT(db.health.command, ElementsAre("/bin/check"));
  EXPECT_EQ(db.health.interval, milliseconds(100));
  EXPECT_EQ(db.health.limit, milliseconds(200));
  EXPECT_EQ(db.health.failures, 2u);
  EXPECT_EQ(db.restart.attempts, 0u);
  EXPECT_EQ(db.restart.window, seconds(30));
  EXPECT_EQ(db.restart.delay, seconds(1));
  EXPECT_EQ(db.restart.maximum_delay, seconds(8));
  EXPECT_EQ(db.restart.first, core::FirstResort::takeover);
}

TEST(Config, TcpHealthAsksTheAddressesPortUnlessToldOtherwise) {
  const std::string text = std::string(kSmall) + "address = { listen = \"127.0.0.1:1\", port = 77 }\n";
  EXPECT_EQ(good(text + "health = { kind = \"tcp\" }").applications[0].health.port, 77);
  EXPECT_EQ(good(text + "health = { kind = \"tcp\", port = 78 }").applications[0].health.port, 78);
}

TEST(Config, SetupIsWhatTheCoreNeeds) {
  const core::Setup setup =
      good(std::string(kSmall) + "address = { listen = \"127.0.0.1:1\", port = 1 }\n").setup();
  EXPECT_EQ(setup.pool.budget_bytes, 1600_MiB);
  EXPECT_EQ(setup.pool.area_bytes, 128_MiB);
  EXPECT_EQ(setup.pool.area_count, 9u);  // (1600 - 2 * (128 + 96)) / 128
  ASSERT_EQ(setup.guests.size(), 2u);
  EXPECT_EQ(setup.guests[0].name, "alpha");
  EXPECT_EQ(setup.guests[0].base_bytes, 128_MiB);
  EXPECT_EQ(setup.guests[0].overhead_bytes, 96_MiB);
  EXPECT_EQ(setup.guests[0].slots, 9u);  // 1 GiB in areas that yield 126 MiB
  EXPECT_EQ(setup.guests[0].heartbeat_limit, milliseconds(500));
  EXPECT_EQ(setup.guests[0].hang_confirm, milliseconds(500));
  EXPECT_EQ(setup.guests[0].silent_agent_limit, seconds(15));
  ASSERT_EQ(setup.apps.size(), 1u);
  EXPECT_EQ(setup.apps[0].name, "redis");
  EXPECT_THAT(setup.apps[0].guests, ElementsAre(core::GuestId{1}, core::GuestId{0}));
  EXPECT_EQ(setup.apps[0].desired_bytes, 1_GiB);
  EXPECT_EQ(setup.apps[0].start_limit, seconds(30));
  EXPECT_TRUE(setup.apps[0].has_address);
}

TEST(Config, RehearsalsHaveTheirTimeAndTheirDirectories) {
  const Application plain = good(kSmall).applications[0];
  EXPECT_EQ(plain.proven_for, std::chrono::hours(168));
  EXPECT_TRUE(plain.rehearsal_scratch.empty());
  const std::string more = std::string(kSmall) + "proven_for = \"2 h\"\n";
  const Application other =
      good(more + "rehearsal_scratch = [\"/var/lib/redis\", \"/data\"]\n").applications[0];
  EXPECT_EQ(other.proven_for, std::chrono::hours(2));
  EXPECT_THAT(other.rehearsal_scratch, ElementsAre("/var/lib/redis", "/data"));
  EXPECT_EQ(good(more).setup().apps[0].proven_for, std::chrono::hours(2));
  const Errors said = errors(more + "rehearsal_scratch = [\"data\", 3, \"/\"]\n");
  ASSERT_EQ(said.size(), 3u);
  EXPECT_THAT(said[0], HasSubstr("write the absolute path of a directory in the guest"));
}

TEST(Config, TwinsHaveTheIdsThatTheCoreGivesThem) {
  Config config = good(kSmall);
  const Application first = config.applications[0];
  config.applications = {first, first, first};
  config.applications[0].hot_standby = true;
  config.applications[1].hot_standby = false;
  config.applications[2].hot_standby = true;
  const core::Setup setup = core::with_rehearsals(config.setup());
  ASSERT_EQ(setup.apps.size(), 5u);
  for (std::uint32_t app = 0; app < 3; ++app) {
    const auto twin = core::twin_of(setup, core::AppId{app});
    EXPECT_EQ(config.twin_of(app), twin ? std::optional(twin->value) : std::nullopt);
    EXPECT_EQ(config.application_of(app), app);
    if (twin) {
      EXPECT_EQ(config.application_of(twin->value), app);
    }
  }
  EXPECT_FALSE(config.application_of(5));
}

std::string with_memory(const std::string& memory) {
  std::string text = kSmall;
  return text.replace(text.find("1600 MiB"), 8, memory);
}

TEST(Config, TheSuggestedBudgetIsTheLeastThatHolds) {
  const Errors said = errors(with_memory("1471 MiB"));
  ASSERT_EQ(said.size(), 1u);
  EXPECT_THAT(said[0], HasSubstr("write memory = \"1472 MiB\""));
  EXPECT_EQ(good(with_memory("1472 MiB")).area_count(), 8u);
}

TEST(Config, SlotsAreNoMoreThanThePoolHasAreas) {
  EXPECT_EQ(good(with_memory("1472 MiB")).guests[0].slots, 8u);
}

std::string with_large_areas(const std::string& base) {
  return "[pool]\nmemory = \"6 GiB\"\narea_size = \"1 GiB\"\n[image]\nkernel = \"k\"\ninitramfs = "
         "\"i\"\ndisk = "
         "\"d\"\n[[guest]]\nname = \"alpha\"\nbase_memory = \"" +
         base +
         "\"\n[[application]]\nname = \"redis\"\nguests = [\"alpha\"]\nmemory = \"4 GiB\"\nstart = "
         "[\"/r\"]\n";
}

// 4 GiB of areas without memmap of their own: 80 MiB for the OS, 65.5 MiB of memmap, 8 MiB of page tables, 32
// MiB to spare.
TEST(Config, AGuestMustCarryTheTablesOfWhatIsAttached) {
  const Errors said = errors(with_large_areas("185 MiB"));
  ASSERT_EQ(said.size(), 1u);
  EXPECT_THAT(said[0], HasSubstr("u.toml:10:15: guest \"alpha\" is too small to have 4 GiB attached"));
  EXPECT_THAT(said[0], HasSubstr("write base_memory = \"192 MiB\""));
  EXPECT_THAT(errors(with_large_areas("186 MiB")), IsEmpty());
}

// Areas that carry their own memmap leave the kernel its page tables all the same: 96 MiB do not do for any
// amount.
TEST(Config, AGuestMustCarryThePageTablesOfWhatIsAttached) {
  const auto with = [](const std::string& base, const std::string& memory) {
    return "[pool]\nmemory = \"24 GiB\"\n[image]\nkernel = \"k\"\ninitramfs = \"i\"\ndisk = "
           "\"d\"\n[[guest]]\nname = "
           "\"alpha\"\nbase_memory = \"" +
           base + "\"\n[[application]]\nname = \"redis\"\nguests = [\"alpha\"]\nmemory = \"" + memory +
           "\"\nstart = [\"/r\"]\n";
  };
  EXPECT_THAT(errors(with("96 MiB", "4 GiB")), IsEmpty());
  const Errors said = errors(with("96 MiB", "8 GiB"));
  ASSERT_EQ(said.size(), 1u);
  EXPECT_THAT(said[0], HasSubstr("write base_memory = \"128 MiB\" or more"));
  EXPECT_THAT(errors(with("128 MiB", "8 GiB")), IsEmpty());
}

TEST(Config, TheExampleIsGood) {
  const fs::path file = fs::path(TEST_DATA_DIR) / "../../../examples/redis.toml";
  std::ifstream in(file);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  ASSERT_FALSE(text.empty());
  const Config config = good(text);
  ASSERT_EQ(config.applications.size(), 1u);
  EXPECT_TRUE(config.applications[0].hot_standby);
  EXPECT_EQ(config.applications[0].minimum_bytes, 512_MiB);
  EXPECT_EQ(config.applications[0].address->listen_text(), "127.0.0.1:16379");
  EXPECT_GE(config.area_count(), 8u);
}

TEST(Load, ImagesMustExistAndBeFiles) {
  const Directory directory;
  const fs::path file = directory.write("etc/u.toml", kSmall);
  fs::create_directories(directory.path() / "etc/vmlinux");
  const auto config = load(file);
  ASSERT_FALSE(config.has_value());
  ASSERT_EQ(config.error().size(), 3u);
  EXPECT_EQ(config.error()[0], file.string() + ":5:10: the kernel " + file.parent_path().string() +
                                   "/vmlinux is not a file; correct the path");
  EXPECT_THAT(config.error()[1],
              HasSubstr(":6:13: the initramfs /boot/initramfs does not exist; build it with `make build`"));
  EXPECT_THAT(config.error()[2], HasSubstr(":7:8: the disk"));
}

TEST(Load, AFileWithItsImagesIsGood) {
  const Directory directory;
  std::string text = kSmall;
  text.replace(text.find("/boot/initramfs"), 15, "initramfs");
  const fs::path file = directory.write("etc/u.toml", text);
  (void)directory.write("etc/vmlinux",
                        "\x7f"
                        "ELF");
  (void)directory.write("etc/initramfs", "070701");
  (void)directory.write("apps", "hsqs");
  const auto config = load(file);
  ASSERT_TRUE(config.has_value()) << config.error()[0];
  EXPECT_EQ(config->file, file);
}

TEST(Load, AnImageOfAnotherKindIsSaid) {
  const Directory directory;
  std::string text = kSmall;
  text.replace(text.find("/boot/initramfs"), 15, "initramfs");
  const fs::path file = directory.write("etc/u.toml", text);
  (void)directory.write("etc/vmlinux", "hsqs");
  (void)directory.write("etc/initramfs", "a text");
  (void)directory.write("apps", "");
  const auto config = load(file);
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error(), ElementsAre(HasSubstr("vmlinux cannot be booted: it is no kernel"),
                                          HasSubstr("initramfs cannot be booted: it is no initramfs"),
                                          HasSubstr("apps cannot be booted: it is no squashfs file system")));
}

TEST(Load, WhatComesFromAPipeBelongsToTheCurrentDirectory) {
  const Directory directory;
  const auto file = read_source(directory.write("etc/u.toml", kSmall));
  ASSERT_TRUE(file.has_value());
  EXPECT_TRUE(file->regular);
  EXPECT_EQ(file->directory, directory.path() / "etc");
  const auto nothing = read_source("/dev/null");
  ASSERT_TRUE(nothing.has_value());
  EXPECT_FALSE(nothing->regular);
  EXPECT_EQ(nothing->directory, fs::current_path());
  EXPECT_EQ(read_source("/dev/null", "/elsewhere")->directory, "/elsewhere");
}

TEST(Load, WhatIsNotAReadableFileIsSaid) {
  const Directory directory;
  const auto missing = load(directory.path() / "no.toml");
  ASSERT_FALSE(missing.has_value());
  EXPECT_THAT(missing.error(), ElementsAre(HasSubstr("no.toml:1:1: the file cannot be read: No such file")));
  const auto folder = load(directory.path());
  ASSERT_FALSE(folder.has_value());
  EXPECT_THAT(folder.error(), ElementsAre(HasSubstr("it is a directory")));
}

TEST(Load, AFileThatIsTooLargeIsRefusedBeforeItIsParsed) {
  const Directory directory;
  const auto config = load(directory.write("u.toml", std::string(3 << 20, 'a')));
  ASSERT_FALSE(config.has_value());
  EXPECT_THAT(config.error(), ElementsAre(HasSubstr("a configuration has at most")));
}

}  // namespace
}  // namespace understudy::config
