#pragma once

#include "core/setup.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// understudy.toml, read and checked as a whole; docs/configuration.md is its reference. All paths are
// absolute (relative ones in the file are taken from the file's own directory).
namespace understudy::config {

// A place in the file, both from 1; {0, 0} is nowhere.
struct Where {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

enum class Accelerator {
  automatic,  // KVM where a guest really boots on it, else TCG
  kvm,
  tcg,
};

struct Host {
  Accelerator accelerator = Accelerator::automatic;
  Where accelerator_at;  // the table or 1:1, when the key is not there
};

enum class RunAs {
  own_users,  // every guest's QEMU as a user of its own, when the daemon is root
  daemon,     // as the daemon's user, even if that is root
};

// What the guests' QEMUs may do on the host.
struct Qemu {
  RunAs run_as = RunAs::own_users;
  std::uint32_t first_uid = 0;  // of the first guest; 0: chosen, see guest_users.hpp
  Where run_as_at;              // the table or 1:1, when the key is not there
  Where first_uid_at;           // likewise
};

enum class Backing {
  tmpfs,  // a private tmpfs when root (huge pages where the host allows them), else a directory on /dev/shm
  hugetlbfs,  // files on a hugetlbfs mount
};

struct Pool {
  Bytes memory_bytes = 0;  // budget of everything
  Bytes area_bytes = 128_MiB;
  Backing backing = Backing::tmpfs;
  std::filesystem::path directory;  // empty: chosen by the pool; hugetlbfs: the mount, never empty
  bool reserve =
      true;  // allocate the pool's pages at the start, so that no attach can run out of host memory
  // Of a pool that is there already: it keeps the areas that it was made with. Not in the file.
  std::optional<std::uint32_t> made_areas = std::nullopt;
  Where memory_at;
  Where area_at;
  Where directory_at;  // the table, when the key is not there
};

struct Image {
  std::filesystem::path kernel;  // uncompressed vmlinux
  std::filesystem::path initramfs;
  std::filesystem::path disk;  // read-only application disk (squashfs)
};

struct Heartbeat {
  Duration interval = std::chrono::milliseconds(50);
  Duration limit = std::chrono::milliseconds(500);
  Duration confirm = std::chrono::milliseconds(500);
  Duration silent_agent_limit =
      std::chrono::seconds(15);  // 0: an agent may be silent for ever while its kernel answers
};

struct Guest {
  std::string name;
  Bytes base_bytes = 128_MiB;
  Bytes overhead_bytes = 96_MiB;  // expected memory of its QEMU beside the guest's own
  std::uint32_t vcpus = 1;
  std::uint32_t slots = 0;  // after load and parse 1..256: where the file says nothing, as many as the
                            // applications that list it can need
  std::string trust_domain = "default";
  Image image;  // [image] of the file, overridden per guest
  Heartbeat heartbeat;
  Duration boot_limit = std::chrono::seconds(60);
  bool crash_dump = false;  // its base memory is written to a file after a fault
  Where at;
  Where name_at;
  Where base_at;  // the table, when the key is not there
};

// Where the base memory of failed guests is written, and how much of it is kept.
struct Dumps {
  std::filesystem::path directory;            // default: "dumps" beside the file
  std::uint32_t keep = 3;                     // files, of all guests together; the oldest go first
  Bytes budget_bytes = 4_GiB;                 // of all of them together
  Duration limit = std::chrono::seconds(60);  // for one; the guest comes back afterwards at the latest
};

// A command of the host that is run when one of these events is written.
struct Hook {
  std::vector<std::string> on;       // kinds of events; "*" is every kind
  std::vector<std::string> command;  // argv, absolute program path on the host
  Duration limit = std::chrono::seconds(10);
};

enum class WhileDown { wait, refuse };

struct Address {
  std::string listen_host;  // numeric, without brackets: "127.0.0.1", "::1"
  std::uint16_t listen_port = 0;
  std::uint16_t guest_port = 0;
  WhileDown while_down = WhileDown::wait;
  Duration wait_limit = std::chrono::seconds(30);
  bool reach_check = true;  // clients are led to it only when a connection on their way stays open
  Where listen_at;

  // As it is written in the file: "127.0.0.1:6379", "[::1]:6379".
  [[nodiscard]] std::string listen_text() const;
};

enum class HealthKind { process, tcp, exec };

struct Health {
  HealthKind kind = HealthKind::process;
  std::uint16_t port = 0;            // tcp
  std::vector<std::string> command;  // exec
  Duration interval = std::chrono::seconds(1);
  Duration limit = std::chrono::seconds(1);
  std::uint32_t failures = 3;
};

struct Restart {
  std::uint32_t attempts = 3;  // in place, per window; 0: none
  Duration window = std::chrono::seconds(60);
  Duration delay = std::chrono::milliseconds(100);  // before the first; doubles up to the maximum
  Duration maximum_delay = std::chrono::seconds(5);
  core::FirstResort first = core::FirstResort::restart;
};

struct Application {
  std::string name;
  std::vector<core::GuestId> guests;
  Bytes memory_bytes = 0;
  Bytes minimum_bytes = 0;  // default: memory
  Bytes maximum_bytes = 0;  // default: memory
  bool hot_standby = false;
  int priority = 0;
  std::uint32_t vcpus = 0;         // beyond what its guest boots with; plugged while it serves there
  std::vector<std::string> start;  // argv, absolute program path inside the guest
  Where start_at;
  std::vector<std::string>
      prepare;  // argv run on a standby when it becomes ready (reads files in); may be empty
  std::map<std::string, std::string> environment;  // what stands in its environment_file included
  bool environment_in_file = false;                // some of it stands in the configuration itself
  std::string user = "app";
  bool ready_notify = false;  // ready = "notify": the application says READY=1 itself (sd_notify);
                              // ready = "health": its first passed health check
  std::optional<Address> address;
  Health health;
  Restart restart;
  Duration start_limit = std::chrono::seconds(30);
  Duration stop_limit = std::chrono::seconds(10);
  Duration release_limit = std::chrono::seconds(3);
  core::OnReleaseLimit on_release_limit = core::OnReleaseLimit::fence;
  bool preempt = false;
  std::uint32_t flap_takeovers = 5;  // per flap_window; 0: no limit
  Duration flap_window = std::chrono::minutes(10);
  Duration proven_for = std::chrono::hours(7 * 24);  // how long a passed rehearsal counts
  std::vector<std::string> rehearsal_scratch;  // absolute directories of the guest; empty ones in rehearsals
  Where name_at;
};

struct Config {
  std::filesystem::path file;  // as it was given, for messages
  Host host;
  Qemu qemu;
  Pool pool;
  std::vector<Guest> guests;
  std::vector<Application> applications;
  Dumps dumps;
  std::vector<Hook> hooks;

  // How many areas the budget leaves beside every guest's base memory and overhead.
  [[nodiscard]] std::uint32_t area_count() const;
  // Every hot standby application has a twin for rehearsals (core::with_rehearsals). The twins' ids are
  // behind those of all applications. Which application is meant by an id of either kind; none: there is no
  // such id.
  [[nodiscard]] std::optional<std::uint32_t> application_of(std::uint32_t app) const;
  [[nodiscard]] std::optional<std::uint32_t> twin_of(std::uint32_t app) const;
  [[nodiscard]] core::Setup setup() const;  // what the core needs of it, under the same ids
};

// Every error found, in file order, each "FILE:LINE:COLUMN: what is wrong, and what to do".
using Errors = std::vector<std::string>;

// A file as it was read once: a pipe or standard input can be read no second time.
struct Source {
  std::filesystem::path file;       // for messages
  std::filesystem::path directory;  // where relative paths in it are taken from
  std::string text;
  bool regular = false;  // a file of its own, which somebody else can read again
};
// `directory` empty: the file's own; of what is no regular file (a pipe, /dev/stdin), the current one.
[[nodiscard]] tl::expected<Source, Errors> read_source(const std::filesystem::path& file,
                                                       const std::filesystem::path& directory = {});

// A guest in which both may run.
[[nodiscard]] bool share_a_guest(const Application& one, const Application& other);

// What may be as it was meant, and is said to whoever checks or starts it; a sentence each.
[[nodiscard]] std::vector<std::string> remarks(const Config& config);

// Reads and checks form, names, sizes and whether it can work at all: the budget holds, every standby's base
// memory can carry what would be attached. Looks at nothing outside the file but the existence of the images,
// and the environment files.
[[nodiscard]] tl::expected<Config, Errors> load(const Source& source);
[[nodiscard]] tl::expected<Config, Errors> load(const std::filesystem::path& file);
// The same for a text, `name` standing for the file's name in messages (tests, fuzzing). Images are not
// looked for.
[[nodiscard]] tl::expected<Config, Errors> parse(std::string_view text, const std::filesystem::path& name);

// A daemon that resumes finds its own gateway on the addresses and its own guests in the memory.
struct HostCheck {
  bool addresses = true;
  bool memory = true;
  std::filesystem::path run_dir = {};  // on which the guests' users depend
  bool runs = false;                   // an understudyd runs there: what is in use may be in use by it
};
// Whether this host can carry it now: QEMU is installed, addresses are free, memory is there, and the
// programs are in the images. `check` and `up` ask this one function. Messages as above. What could not be
// looked at goes to `not_seen`, a sentence each.
[[nodiscard]] Errors check_host(const Config& config, HostCheck what = {},
                                std::vector<std::string>* not_seen = nullptr);

}  // namespace understudy::config
