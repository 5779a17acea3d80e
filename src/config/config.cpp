#include "config/config.hpp"

#include "base/check.hpp"
#include "config/document.hpp"
#include "config/draft.hpp"
#include "config/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include <system_error>

namespace understudy::config {

namespace {

Image image_of(const ImageDraft& draft) {
  return {draft.kernel.path, draft.initramfs.path, draft.disk.path};
}

Config finished(Draft draft, const std::filesystem::path& name) {
  Config config;
  config.file = name;
  config.host = draft.host;
  config.qemu = draft.qemu;
  config.pool = std::move(draft.pool);
  config.pool.area_at = draft.area_at;
  for (GuestDraft& each : draft.guests) {
    each.guest.image = image_of(each.image);
    each.guest.at = each.at;
    each.guest.name_at = each.name_at;
    each.guest.base_at = each.base_at;
    config.guests.push_back(std::move(each.guest));
  }
  for (ApplicationDraft& each : draft.applications) {
    each.application.name_at = each.name_at;
    config.applications.push_back(std::move(each.application));
  }
  config.dumps = std::move(draft.dumps);
  config.hooks = std::move(draft.hooks);
  return config;
}

enum class Images { looked_for, taken_as_given };

tl::expected<Config, Errors> parse_text(std::string_view text, const std::filesystem::path& name,
                                        const std::filesystem::path& directory, Images images) {
  Report report;
  const Document document = read_document(text, report);
  Draft draft = read_draft(document, directory, report);
  check_relations(draft, report);
  check_memory(draft, report);
  check_dumps(draft, report);
  check_first_uid(draft, report);
  if (images == Images::looked_for) {
    check_images(draft, report);
    read_environment_files(draft, report);
  }
  if (!report.empty()) return tl::unexpected(report.take(name.string()));
  return finished(std::move(draft), name);
}

tl::unexpected<Errors> cannot_read(const std::filesystem::path& file, std::string_view why) {
  return tl::unexpected(Errors{fmt::format(
      "{}:1:1: the file cannot be read: {}; check the path and its permissions", file.string(), why)});
}

}  // namespace

std::string Address::listen_text() const {
  const bool brackets = listen_host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", brackets ? "[" : "", listen_host, brackets ? "]" : "", listen_port);
}

tl::expected<Source, Errors> read_source(const std::filesystem::path& name,
                                         const std::filesystem::path& directory) {
  const std::filesystem::path file = name == "-" ? "/dev/stdin" : name;
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) return cannot_read(file, "it is a directory");
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in) return cannot_read(file, std::strerror(errno));
  Source source{file, directory, std::string(kLargestFileBytes + 1, '\0'),
                false};  // one byte too many is noticed
  in.read(source.text.data(), static_cast<std::streamsize>(source.text.size()));
  if (in.bad()) return cannot_read(file, std::strerror(errno));
  source.text.resize(static_cast<std::size_t>(in.gcount()));
  source.regular = std::filesystem::is_regular_file(file, error) && !file.native().starts_with("/dev/") &&
                   !file.native().starts_with("/proc/");
  if (source.directory.empty()) {
    source.directory = source.regular ? std::filesystem::absolute(file, error).parent_path()
                                      : std::filesystem::current_path(error);
  }
  return source;
}

tl::expected<Config, Errors> load(const Source& source) {
  return parse_text(source.text, source.file, source.directory, Images::looked_for);
}

tl::expected<Config, Errors> load(const std::filesystem::path& file) {
  const auto source = read_source(file);
  if (!source) return tl::unexpected(source.error());
  return load(*source);
}

tl::expected<Config, Errors> parse(std::string_view text, const std::filesystem::path& name) {
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::absolute(name, error).parent_path();
  return parse_text(text, name, directory, Images::taken_as_given);
}

bool share_a_guest(const Application& one, const Application& other) {
  return std::any_of(one.guests.begin(), one.guests.end(), [&](core::GuestId guest) {
    return std::find(other.guests.begin(), other.guests.end(), guest) != other.guests.end();
  });
}

std::uint32_t Config::area_count() const {
  if (pool.made_areas) return *pool.made_areas;
  Bytes taken = 0;
  for (const Guest& guest : guests) taken += guest.base_bytes + guest.overhead_bytes;
  if (taken >= pool.memory_bytes) return 0;
  const Bytes areas = (pool.memory_bytes - taken) / pool.area_bytes;
  US_CHECK(areas <= kMostAreas);  // parse lets no other file through
  return static_cast<std::uint32_t>(areas);
}

std::optional<std::uint32_t> Config::twin_of(std::uint32_t app) const {
  if (app >= applications.size() || !applications[app].hot_standby) return std::nullopt;
  auto twin = static_cast<std::uint32_t>(applications.size());
  for (std::uint32_t before = 0; before < app; ++before) twin += applications[before].hot_standby ? 1 : 0;
  return twin;
}

std::optional<std::uint32_t> Config::application_of(std::uint32_t app) const {
  for (std::uint32_t each = 0; each < applications.size(); ++each) {
    if (each == app || twin_of(each) == app) return each;
  }
  return std::nullopt;
}

core::Setup Config::setup() const {
  core::Setup setup;
  setup.pool = {pool.memory_bytes, pool.area_bytes, area_count()};
  for (const Guest& guest : guests) {
    core::GuestSetup to;
    to.name = guest.name;
    to.base_bytes = guest.base_bytes;
    to.overhead_bytes = guest.overhead_bytes;
    to.slots = guest.slots;
    to.dump = guest.crash_dump;
    to.vcpus = guest.vcpus;
    to.trust_domain = guest.trust_domain;
    to.boot_limit = guest.boot_limit;
    to.heartbeat_limit = guest.heartbeat.limit;
    to.hang_confirm = guest.heartbeat.confirm;
    to.silent_agent_limit = guest.heartbeat.silent_agent_limit;
    setup.guests.push_back(std::move(to));
  }
  for (const Application& application : applications) {
    core::AppSetup to;
    to.name = application.name;
    to.guests = application.guests;
    to.desired_bytes = application.memory_bytes;
    to.minimum_bytes = application.minimum_bytes;
    to.maximum_bytes = application.maximum_bytes;
    to.hot_standby = application.hot_standby;
    to.priority = application.priority;
    to.vcpus = application.vcpus;
    to.start_limit = application.start_limit;
    to.stop_limit = application.stop_limit;
    to.release_limit = application.release_limit;
    to.on_release_limit = application.on_release_limit;
    to.preempts = application.preempt;
    to.flap_takeovers = application.flap_takeovers;
    to.flap_window = application.flap_window;
    to.has_address = application.address.has_value();
    to.proven_for = application.proven_for;
    setup.apps.push_back(std::move(to));
  }
  return setup;
}

}  // namespace understudy::config
