#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/table_reader.hpp"

#include <fmt/format.h>

#include <limits>

namespace understudy::config {

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

bool whole_mib(TableReader& table, std::string_view key, Bytes bytes) {
  if (bytes % 1_MiB == 0) return true;
  table.report().add(table.at(key), fmt::format("{} is not a whole number of MiB; write \"{} MiB\"", key,
                                                bytes / 1_MiB + 1));
  return false;
}

// A key that is not there keeps its default; one that is there has to be good.
bool optional_size(TableReader& table, std::string_view key, Bytes& into, Bytes least) {
  if (!table.size(key, into, least)) return !table.has(key);
  return whole_mib(table, key, into);
}

void read_host(TableReader& table, Host& host) {
  table.choice<Accelerator>(
      "accelerator", host.accelerator,
      {{"auto", Accelerator::automatic}, {"kvm", Accelerator::kvm}, {"tcg", Accelerator::tcg}});
  host.accelerator_at = table.at("accelerator");
  table.finish();
}

void read_qemu(TableReader& table, Qemu& qemu) {
  table.choice<RunAs>("run_as", qemu.run_as, {{"own-users", RunAs::own_users}, {"daemon", RunAs::daemon}});
  table.count("first_uid", qemu.first_uid, 1, std::numeric_limits<std::uint32_t>::max());
  qemu.run_as_at = table.at("run_as");
  qemu.first_uid_at = table.at("first_uid");
  table.finish();
}

void read_pool(TableReader& table, const std::filesystem::path& directory, Draft& draft) {
  Pool& pool = draft.pool;
  const bool memory =
      table.require("memory", "\"4 GiB\"") && optional_size(table, "memory", pool.memory_bytes, 1_MiB);
  bool area = optional_size(table, "area_size", pool.area_bytes, 1_MiB);
  if (area && pool.area_bytes % kMemoryBlock != 0) {
    table.report().add(table.at("area_size"),
                       fmt::format("area_size is {}, it has to be a multiple of {}, the block in which Linux "
                                   "adds memory; write \"{}\"",
                                   format_size(pool.area_bytes), format_size(kMemoryBlock),
                                   format_size((pool.area_bytes / kMemoryBlock + 1) * kMemoryBlock)));
    area = false;
  }
  table.choice<Backing>("backing", pool.backing,
                        {{"tmpfs", Backing::tmpfs}, {"hugetlbfs", Backing::hugetlbfs}});
  std::string path;
  if (table.text("directory", path)) pool.directory = (directory / path).lexically_normal();
  if (pool.backing == Backing::hugetlbfs && !table.has("directory") && !table.damaged()) {
    table.report().add(table.at("backing"),
                       "backing = \"hugetlbfs\" needs the directory where hugetlbfs is mounted; "
                       "write directory = \"/dev/hugepages\"");
  }
  table.flag("reserve", pool.reserve);
  pool.memory_at = table.at("memory");
  pool.directory_at = table.at("directory");
  draft.area_at = table.at("area_size");
  draft.pool_good = memory && area;
  table.finish();
}

void read_image(TableReader& table, const std::filesystem::path& directory, ImageDraft& image) {
  const auto part = [&](std::string_view key, NamedFile& into) {
    std::string path;
    if (table.text(key, path)) into.path = (directory / path).lexically_normal();
    if (table.has(key)) into.at = table.at(key);
  };
  part("kernel", image.kernel);
  part("initramfs", image.initramfs);
  part("disk", image.disk);
  image.at = table.table_at();
  table.finish();
}

void read_heartbeat(TableReader& table, Heartbeat& heartbeat) {
  table.duration("interval", heartbeat.interval, milliseconds(5), seconds(60));
  table.duration("limit", heartbeat.limit, milliseconds(10), hours(1));
  table.duration("confirm", heartbeat.confirm, milliseconds(10), hours(1));
  table.duration("silent_agent_limit", heartbeat.silent_agent_limit, seconds(0), hours(24));
  if (heartbeat.limit < 2 * heartbeat.interval) {
    const std::string_view key = table.has("limit") ? "limit" : "interval";
    table.report().add(
        table.at(key),
        fmt::format("the heartbeat's limit of {} is less than two intervals of {}, so one late beat "
                    "would make a guest suspected; write limit = \"{}\" or more",
                    format_duration(heartbeat.limit), format_duration(heartbeat.interval),
                    format_duration(2 * heartbeat.interval)));
  }
  table.finish();
}

void read_dumps(TableReader& table, const std::filesystem::path& directory, Dumps& dumps) {
  std::string path;
  if (table.text("directory", path)) dumps.directory = (directory / path).lexically_normal();
  table.count("keep", dumps.keep, 1, kMostDumps);
  table.size("budget", dumps.budget_bytes, 1_MiB);
  table.duration("limit", dumps.limit, seconds(1), std::chrono::minutes(10));
  table.finish();
}

GuestDraft read_guest(const Value& value, const std::filesystem::path& directory, const ImageDraft& image,
                      Report& report, bool damaged) {
  TableReader table(value, value.at, "[[guest]]", report, damaged);
  GuestDraft draft;
  Guest& guest = draft.guest;
  draft.name_good = table.require("name", "\"alpha\"") && table.name("name", guest.name);
  draft.sizes_good = optional_size(table, "base_memory", guest.base_bytes, kSmallestBase);
  draft.sizes_good &= optional_size(table, "overhead", guest.overhead_bytes, 0);
  table.count("vcpus", guest.vcpus, 1, kMostVcpus);
  table.count("slots", guest.slots, 1, kMostSlots);
  table.name("trust_domain", guest.trust_domain);
  draft.image = image;
  if (const Value* inner = table.table("image")) {
    TableReader reader = table.inner(*inner, "image");
    read_image(reader, directory, draft.image);
  }
  if (const Value* inner = table.table("heartbeat")) {
    TableReader reader = table.inner(*inner, "heartbeat");
    read_heartbeat(reader, guest.heartbeat);
  }
  table.duration("boot_limit", guest.boot_limit, seconds(1), hours(1));
  table.flag("crash_dump", guest.crash_dump);
  table.finish();
  draft.at = value.at;
  draft.name_at = table.at("name");
  draft.base_at = table.at("base_memory");
  draft.slots_at = table.at("slots");
  draft.crash_dump_at = table.at("crash_dump");
  return draft;
}

// Whether there is a list under `key` that has at least one and at most `most` tables.
const Value* read_tables(TableReader& root, std::string_view key, std::size_t most,
                         std::string_view example) {
  const Value* tables = root.tables(key);
  if (tables != nullptr && tables->items.size() > most) {
    const Where at = tables->items[most].at;
    root.report().add(
        at, fmt::format("this is {} number {}, there may be at most {}; remove some", key, most + 1, most));
    return nullptr;
  }
  if (!root.has(key) && !root.damaged()) {
    root.report().add({1, 1}, fmt::format("the file has no [[{}]]; write at least one: {}", key, example));
  }
  return tables;
}

// Every guest needs all three; what is missing is said once, where it would best be written.
void require_images(const Draft& draft, Report& report) {
  const auto require = [&](NamedFile ImageDraft::*part, std::string_view key, std::string_view example) {
    for (const GuestDraft& guest : draft.guests) {
      if ((guest.image.*part).at.line != 0 || draft.damaged) continue;
      if (draft.image.at.line != 0) {
        report.add(draft.image.at, fmt::format("[image] has no {}; write {} = \"{}\"", key, key, example));
      } else {
        report.add(guest.at, fmt::format("guest {} has no {} to boot; write a table [image] with {} = \"{}\"",
                                         in_quotes(guest.guest.name), key, key, example));
      }
      return;
    }
  };
  require(&ImageDraft::kernel, "kernel", "build/guest/vmlinux");
  require(&ImageDraft::initramfs, "initramfs", "build/guest/initramfs.cpio");
  require(&ImageDraft::disk, "disk", "build/guest/apps.squashfs");
}

}  // namespace

Draft read_draft(const Document& document, const std::filesystem::path& directory, Report& report) {
  Draft draft;
  draft.damaged = document.damaged;
  TableReader root(document.root, {1, 1}, "the file", report, document.damaged);
  draft.host.accelerator_at = {1, 1};
  if (const Value* value = root.table("host")) {
    TableReader table = root.inner(*value, "[host]");
    read_host(table, draft.host);
  }
  draft.qemu.run_as_at = draft.qemu.first_uid_at = {1, 1};
  if (const Value* value = root.table("qemu")) {
    TableReader table = root.inner(*value, "[qemu]");
    read_qemu(table, draft.qemu);
  }
  if (const Value* value = root.table("pool")) {
    TableReader table = root.inner(*value, "[pool]");
    read_pool(table, directory, draft);
  } else if (!root.has("pool") && !draft.damaged) {
    report.add({1, 1}, "the file has no [pool]; write [pool] and under it memory = \"4 GiB\"");
  }
  if (const Value* value = root.table("image")) {
    TableReader table = root.inner(*value, "[image]");
    read_image(table, directory, draft.image);
  }
  if (const Value* guests =
          read_tables(root, "guest", kMostGuests, "[[guest]] and under it name = \"alpha\"")) {
    for (const Value& value : guests->items) {
      draft.guests.push_back(read_guest(value, directory, draft.image, report, draft.damaged));
    }
  }
  require_images(draft, report);
  if (const Value* applications = read_tables(root, "application", kMostApplications,
                                              "[[application]] and under it name = \"redis\"")) {
    for (const Value& value : applications->items) {
      draft.applications.push_back(read_application(value, report, draft.damaged));
      auto& file = draft.applications.back().environment_file.path;
      if (!file.empty()) file = (directory / file).lexically_normal();
    }
  }
  draft.dumps.directory = (directory / "dumps").lexically_normal();
  if (const Value* value = root.table("dumps")) {
    TableReader table = root.inner(*value, "[dumps]");
    read_dumps(table, directory, draft.dumps);
  }
  if (const Value* hooks = root.tables("hook")) {
    if (hooks->items.size() > kMostHooks) {
      report.add(
          hooks->items[kMostHooks].at,
          fmt::format("this is hook number {}, there may be at most {}; let one command serve several events",
                      kMostHooks + 1, kMostHooks));
    } else {
      for (const Value& value : hooks->items) draft.hooks.push_back(read_hook(value, report, draft.damaged));
    }
  }
  root.finish();
  return draft;
}

}  // namespace understudy::config
