#include "base/counted.hpp"
#include "config/draft.hpp"
#include "config/image_look.hpp"
#include "config/limits.hpp"
#include "config/listen_address.hpp"
#include "config/suggest.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include <system_error>

namespace understudy::config {

namespace {

// Guests and applications share no messages' subjects, so each kind has its own names.
template <class Drafts, class NameOf>
void check_unique(const Drafts& drafts, std::string_view kind, NameOf name_of, Report& report) {
  std::map<std::string, Where> seen;
  for (const auto& draft : drafts) {
    if (!draft.name_good) continue;
    const auto [first, fresh] = seen.emplace(name_of(draft), draft.name_at);
    if (fresh) continue;
    report.add(draft.name_at, fmt::format("{} {} is already defined in line {}; choose another name", kind,
                                          in_quotes(first->first), first->second.line));
  }
}

void resolve_guests(Draft& draft, ApplicationDraft& application, Report& report) {
  std::vector<std::string_view> names;
  for (const GuestDraft& guest : draft.guests) {
    if (guest.name_good) names.push_back(guest.guest.name);
  }
  for (const auto& entry : application.guests) {
    const std::string& name = entry.first;
    const Where at = entry.second;
    const auto found = std::find_if(draft.guests.begin(), draft.guests.end(), [&](const GuestDraft& guest) {
      return guest.name_good && guest.guest.name == name;
    });
    if (found == draft.guests.end()) {
      application.guests_good = false;
      if (draft.damaged) continue;  // it may stand in a statement that could not be read
      std::string advice = did_you_mean(name, names);
      if (advice.empty()) advice = "; write a [[guest]] with this name, or correct it";
      report.add(at, fmt::format("there is no guest {}{}", in_quotes(name), advice));
      continue;
    }
    const core::GuestId id{static_cast<std::uint32_t>(found - draft.guests.begin())};
    auto& guests = application.application.guests;
    if (std::find(guests.begin(), guests.end(), id) != guests.end()) {
      application.guests_good = false;
      report.add(at, fmt::format("guest {} stands in this list twice; remove one", in_quotes(name)));
      continue;
    }
    guests.push_back(id);
  }
}

void check_standby(const ApplicationDraft& draft, Report& report) {
  const Application& application = draft.application;
  if (application.hot_standby && draft.guests_good && application.guests.size() < 2) {
    report.add(draft.hot_standby_at,
               "hot_standby needs a second guest to stand by; name another one in guests, or "
               "write hot_standby = false");
  }
  if (application.restart.first == core::FirstResort::takeover && !application.hot_standby) {
    report.add(draft.first_at,
               "first = \"takeover\" needs a standby guest; write hot_standby = true, or first = "
               "\"restart\"");
  }
}

void check_listen(const std::vector<ApplicationDraft>& drafts, Report& report) {
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    if (!drafts[i].listen_good) continue;
    const Address& mine = *drafts[i].application.address;
    for (std::size_t j = 0; j < i; ++j) {
      if (!drafts[j].listen_good) continue;
      const Address& other = *drafts[j].application.address;
      if (!clash({mine.listen_host, mine.listen_port}, {other.listen_host, other.listen_port})) continue;
      report.add(
          mine.listen_at,
          fmt::format("application {} listens on {} already (line {}); choose another port",
                      in_quotes(drafts[j].application.name), other.listen_text(), other.listen_at.line));
      break;
    }
  }
}

void check_guest_ports(const std::vector<ApplicationDraft>& drafts, Report& report) {
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    if (!drafts[i].guest_port_good) continue;
    for (std::size_t j = 0; j < i; ++j) {
      if (!drafts[j].guest_port_good) continue;
      const Application& mine = drafts[i].application;
      const Application& other = drafts[j].application;
      if (mine.address->guest_port != other.address->guest_port || !share_a_guest(mine, other)) continue;
      report.add(
          drafts[i].guest_port_at,
          fmt::format(
              "application {} uses port {} in the same guest (line {}); let this one listen on another "
              "port, or give the two different guests",
              in_quotes(other.name), other.address->guest_port, drafts[j].guest_port_at.line));
      break;
    }
  }
}

// Every application that a guest may serve could be on it at the same time.
void check_vcpus(const Draft& draft, Report& report) {
  for (std::uint32_t id = 0; id < draft.guests.size(); ++id) {
    const Guest& guest = draft.guests[id].guest;
    std::uint32_t vcpus = guest.vcpus;
    for (const ApplicationDraft& each : draft.applications) {
      const Application& application = each.application;
      const auto& guests = application.guests;
      if (std::find(guests.begin(), guests.end(), core::GuestId{id}) == guests.end()) continue;
      vcpus += application.vcpus;
      if (vcpus <= kMostVcpus || application.vcpus == 0) continue;
      report.add(each.vcpus_at,
                 fmt::format("guest {} would have {} with those of all applications that it may serve, "
                             "up to and with {}; the most is {}: write fewer here or there",
                             in_quotes(guest.name), counted(vcpus, "vCPU"), in_quotes(application.name),
                             kMostVcpus));
      break;
    }
  }
}

}  // namespace

void check_relations(Draft& draft, Report& report) {
  check_unique(
      draft.guests, "guest", [](const GuestDraft& guest) { return guest.guest.name; }, report);
  check_unique(
      draft.applications, "application", [](const ApplicationDraft& each) { return each.application.name; },
      report);
  for (ApplicationDraft& application : draft.applications) {
    resolve_guests(draft, application, report);
    check_standby(application, report);
  }
  check_listen(draft.applications, report);
  check_guest_ports(draft.applications, report);
  check_vcpus(draft, report);
}

void check_dumps(const Draft& draft, Report& report) {
  for (const GuestDraft& each : draft.guests) {
    const Guest& guest = each.guest;
    const Bytes needed = guest.base_bytes + kDumpOverhead;
    if (!guest.crash_dump || !each.sizes_good || needed <= draft.dumps.budget_bytes) continue;
    report.add(
        each.crash_dump_at,
        fmt::format("a dump of guest {} takes {}, but [dumps] has a budget of {} for all of them; write "
                    "budget = \"{}\" or more, or crash_dump = false",
                    in_quotes(guest.name), format_size(needed), format_size(draft.dumps.budget_bytes),
                    format_size(needed)));
  }
}

void check_images(const Draft& draft, Report& report) {
  std::vector<std::filesystem::path> checked;
  const auto check = [&](const NamedFile& part, std::string_view key, ImageKind kind) {
    if (part.path.empty() || std::find(checked.begin(), checked.end(), part.path) != checked.end()) return;
    checked.push_back(part.path);
    std::error_code error;
    const auto status = std::filesystem::status(part.path, error);
    if (status.type() == std::filesystem::file_type::not_found) {
      report.add(part.at,
                 fmt::format("the {} {} does not exist; build it with `make build`, or correct the path", key,
                             part.path.string()));
    } else if (error) {
      report.add(part.at,
                 fmt::format("the {} {} cannot be looked at ({}); correct its permissions or the path", key,
                             part.path.string(), error.message()));
    } else if (status.type() != std::filesystem::file_type::regular) {
      report.add(part.at, fmt::format("the {} {} is not a file; correct the path", key, part.path.string()));
    } else if (::access(part.path.c_str(), R_OK) != 0) {
      report.add(part.at, fmt::format("the {} {} cannot be read ({}); correct its permissions", key,
                                      part.path.string(), std::strerror(errno)));
    } else if (const std::string why = why_not_image(part.path, kind); !why.empty()) {
      report.add(part.at,
                 fmt::format("the {} {} cannot be booted: {}; correct the path, or build it with `make "
                             "build`",
                             key, part.path.string(), why));
    }
  };
  for (const GuestDraft& guest : draft.guests) {
    check(guest.image.kernel, "kernel", ImageKind::kernel);
    check(guest.image.initramfs, "initramfs", ImageKind::initramfs);
    check(guest.image.disk, "disk", ImageKind::disk);
  }
}

}  // namespace understudy::config
