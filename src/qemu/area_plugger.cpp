#include "qemu/area_plugger.hpp"

#include "base/shown.hpp"
#include "base/units.hpp"
#include "qemu/acpi_ost.hpp"
#include "qemu/command_line.hpp"
#include "qemu/json_field.hpp"

#include <algorithm>
#include <utility>

namespace understudy::qemu {

namespace json = boost::json;
using namespace core::event;

AreaPlugger::AreaPlugger(boost::asio::io_context& loop, std::shared_ptr<QmpClient> monitor,
                         pool::AreaPool& pool, core::GuestRun run, const Limits& limits,
                         std::optional<HostUser> user, Emit emit, Broken broken)
    : loop_(loop),
      monitor_(std::move(monitor)),
      pool_(pool),
      run_(run),
      limits_(limits),
      user_(std::move(user)),
      emit_(std::move(emit)),
      broken_(std::move(broken)) {}

void AreaPlugger::end() {
  ended_ = true;
  leaving_.clear();
  plugging_ = 0;
}

void AreaPlugger::ask(std::string_view command, json::object arguments, QmpClient::Callback answered) {
  monitor_->execute(command, std::move(arguments), limits_.plug,
                    [this, answered = std::move(answered)](const QmpReply& reply) {
                      if (!ended_) answered(reply);
                    });
}

void AreaPlugger::adopt(const std::vector<PluggedArea>& devices, const std::vector<core::AreaId>& backends) {
  for (const PluggedArea& device : devices) plugged_[device.area] = device.guest_address;
  // A daemon that died between two commands left these mapped; nothing of them is in the guest.
  for (const core::AreaId area : backends) {
    if (plugged_.count(area) != 0) continue;
    stray_backends_.insert(area);
    remove_backend(area);
  }
}

// ---- into the guest ----
// All commands of all areas go out at once: object-add and device_add for each area, in order, so that the
// guest's kernel finds each DIMM at the next address and works on the first while QEMU makes the second; then
// one query for the addresses. Its answer decides:
//   device_add done, address known     AreaPlugged
//   object-add refused                 PlugFailed
//   device_add refused                 object-del, then PlugFailed
//   any of them unanswered             broken
// No PlugFailed of these says that it was tried in the guest: QEMU refuses a device before it tells the guest
// of it (pc_memory_pre_plug; what comes after that cannot fail).
void AreaPlugger::plug(std::span<const core::AreaId> areas) {
  const auto batch = std::make_shared<Batch>();
  for (const core::AreaId area : areas) {
    if (coming_.count(area) != 0) continue;  // asked already; its answer comes
    if (leaving_.count(area) != 0) {
      emit_(PlugFailed{run_, area, "it is just being unplugged"});
      continue;
    }
    if (const auto found = plugged_.find(area); found != plugged_.end()) {
      emit_(AreaPlugged{run_, area, found->second});  // asked again: it is so already
      continue;
    }
    // Asked before the area is given anew, so that the answer is known to be about the time before.
    if (stray_backends_.count(area) != 0) remove_backend(area);
    ++given_[area];
    if (auto given = user_ ? pool_.give(area, user_->gid) : Result<void>{}; !given) {
      emit_(PlugFailed{run_, area, given.error().message});
      continue;
    }
    coming_.insert(area);
    batch->areas.push_back({area, false, false, ""});
  }
  if (batch->areas.empty()) return;
  ++plugging_;
  for (std::size_t i = 0; i < batch->areas.size(); ++i) {
    add_backend(batch, i);
    add_device(batch, i);
  }
  locate(batch);
}

bool AreaPlugger::decided(Batch& batch, const QmpReply& reply) {
  ++batch.answers;
  if (reply || reply.error().kind == QmpError::Kind::refused) return true;
  // Lost connections are dealt with by the owner of the monitor, who is told of them as well.
  if (!std::exchange(batch.undecided, true) && reply.error().kind == QmpError::Kind::late)
    broken_(reply.error().message);
  return false;
}

void AreaPlugger::add_backend(const std::shared_ptr<Batch>& batch, std::size_t index) {
  const core::AreaId area = batch->areas[index].area;
  json::object arguments{{"qom-type", "memory-backend-file"},
                         {"id", backend_id(area)},
                         {"mem-path", path_for_qemu(area)},
                         {"size", pool_.area_bytes()},
                         {"align", pool_.alignment()},
                         {"share", true},          // what the guest writes stays in the file
                         {"prealloc", false},      // its pages are there, or come when they are touched
                         {"discard-data", false},  // and stay when QEMU lets go
                         {"dump", true}};
  ask("object-add", std::move(arguments), [this, batch, index](const QmpReply& reply) {
    if (!decided(*batch, reply)) return;
    Plugging& plugging = batch->areas[index];
    plugging.backend = reply.has_value();
    if (!reply) plugging.why = reply.error().message;
  });
}

void AreaPlugger::add_device(const std::shared_ptr<Batch>& batch, std::size_t index) {
  const core::AreaId area = batch->areas[index].area;
  ask("device_add", {{"driver", "pc-dimm"}, {"id", dimm_id(area)}, {"memdev", backend_id(area)}},
      [this, batch, index](const QmpReply& reply) {
        if (!decided(*batch, reply)) return;
        Plugging& plugging = batch->areas[index];
        plugging.device = reply.has_value();
        if (!reply && plugging.why.empty()) plugging.why = reply.error().message;
      });
}

void AreaPlugger::locate(const std::shared_ptr<Batch>& batch) {
  ask("query-memory-devices", {}, [this, batch](const QmpReply& reply) {
    --plugging_;
    for (const Plugging& plugging : batch->areas) coming_.erase(plugging.area);
    const bool in_order = batch->answers == 2 * batch->areas.size();
    if (!decided(*batch, reply) || batch->undecided) return;
    if (!reply) return broken_(reply.error().message);
    if (!in_order) return broken_("QEMU left commands before query-memory-devices unanswered");
    const auto devices = read_memory_devices(*reply);
    if (!devices) return broken_(devices.error().message);
    finish(*batch, *devices);
  });
}

void AreaPlugger::finish(const Batch& batch, const std::vector<PluggedArea>& devices) {
  for (const Plugging& plugging : batch.areas) {
    if (!plugging.device) {
      take_back(plugging);
      continue;
    }
    const auto at = std::find_if(devices.begin(), devices.end(), [&plugging](const PluggedArea& device) {
      return device.area == plugging.area;
    });
    if (at == devices.end())
      return broken_("device_add of " + dimm_id(plugging.area) +
                     " succeeded, but QEMU does not know the device");
    plugged_[plugging.area] = at->guest_address;
    emit_(AreaPlugged{run_, plugging.area, at->guest_address});
  }
}

void AreaPlugger::take_back(const Plugging& area) {
  const std::uint32_t given = times_given(area.area);
  if (!area.backend) {
    is_out(area.area, given);
    return emit_(PlugFailed{run_, area.area, area.why});
  }
  ask("object-del", {{"id", backend_id(area.area)}}, [this, area, given](const QmpReply& reply) {
    if (!reply && reply.error().kind == QmpError::Kind::lost) return;
    if (!reply) return broken_(reply.error().message + " (after " + area.why + ")");
    is_out(area.area, given);
    emit_(PlugFailed{run_, area.area, area.why});
  });
}

// A QEMU with a user of its own could not go through the directories above; it was given this one.
std::string AreaPlugger::path_for_qemu(core::AreaId area) const {
  const std::filesystem::path path = pool_.path(area);
  return user_ ? (kAreasOfFd / path.filename()).string() : path.string();
}

std::uint32_t AreaPlugger::times_given(core::AreaId area) const {
  const auto found = given_.find(area);
  return found == given_.end() ? 0 : found->second;
}

// given: how often it had been given when QEMU was asked to let go of it. Given once more since, it is not
// taken back: what has left is what was there before.
void AreaPlugger::is_out(core::AreaId area, std::uint32_t given) {
  if (user_ && given == times_given(area)) pool_.take_back(area, user_->gid);
}

// ---- out of the guest ----
// device_del only asks the guest; DEVICE_DELETED says that it let go; object-del unmaps the file:
//   device_del refused                              UnplugFailed, by the host (not there any more: go on with
//                                                   object-del; refused, that is the host's failure, too)
//   the guest refuses (event), or its limit passes  UnplugFailed; it may still let go later, see device_gone
//   DEVICE_DELETED, object-del done                 AreaUnplugged
//   device_del or object-del unanswered             broken
void AreaPlugger::unplug(std::span<const core::AreaId> areas) {
  for (const core::AreaId area : areas) {
    if (leaving_.count(area) == 0) begin_leaving(area);
  }
}

void AreaPlugger::begin_leaving(core::AreaId area) {
  Leaving& leaving = leaving_[area];
  leaving.limit = std::make_shared<boost::asio::steady_timer>(loop_);
  leaving.limit->expires_after(limits_.unplug);
  // An expiry may be on its way already when its timer is destroyed: it counts only while that timer lives.
  leaving.limit->async_wait([this, area, weak = std::weak_ptr(leaving.limit)](auto error) {
    if (!error && weak.lock())
      fail_leaving(area, "the guest did not let go of it within " + format_duration(limits_.unplug));
  });
  ask("device_del", {{"id", dimm_id(area)}}, [this, area](const QmpReply& reply) {
    if (reply || leaving_.count(area) == 0) return;
    const QmpError& error = reply.error();
    if (error.kind == QmpError::Kind::lost) return;
    if (error.kind == QmpError::Kind::late) return broken_(error.message);
    if (error.error_class == "DeviceNotFound") return device_gone(area);
    if (error.message.find("already in the process of unplug") != std::string::npos) return;
    fail_leaving(area, error.message, false);
  });
}

void AreaPlugger::on_event(const QmpEvent& event) {
  if (event.name == "DEVICE_DELETED") {
    if (const auto area = area_of_id(text_of(event.data, "device"), "dimm-")) device_gone(*area);
  } else if (event.name == "MEM_UNPLUG_ERROR" || event.name == "DEVICE_UNPLUG_GUEST_ERROR") {
    if (const auto area = area_of_id(text_of(event.data, "device"), "dimm-")) {
      const std::string message = text_of(event.data, "msg");
      fail_leaving(*area, "the guest refused to let go of it" +
                              (message.empty() ? "" : ": " + shown(message, kMostQuotedBytes)));
    }
  } else if (event.name == "ACPI_DEVICE_OST") {
    const json::value* info = event.data.if_contains("info");
    if (info == nullptr || !info->is_object()) return;
    const json::object& details = info->get_object();
    const auto area = area_of_id(text_of(details, "device"), "dimm-");
    const std::int64_t status = number_of(details, "status");
    if (!area || number_of(details, "source") != kOstEjectRequest) return;
    if (status == kOstSuccess || status == kOstInProgress) return;
    fail_leaving(*area, "the guest refused to let go of it (ACPI status " + std::to_string(status) + ")");
  }
}

void AreaPlugger::fail_leaving(core::AreaId area, const std::string& why, bool tried_in_guest) {
  const auto found = leaving_.find(area);
  if (found == leaving_.end() || !found->second.limit) return;  // nobody asked, or it is out already
  leaving_.erase(found);
  emit_(UnplugFailed{run_, area, why, tried_in_guest});
}

// Also for an area that nobody waits for any more: a guest that lets go late, or unasked, must not keep the
// file mapped.
void AreaPlugger::device_gone(core::AreaId area) {
  const bool was_in = plugged_.erase(area) != 0;
  if (was_in && leaving_.count(area) == 0) unasked_.insert(area);
  stray_backends_.insert(area);
  if (const auto found = leaving_.find(area); found != leaving_.end()) found->second.limit.reset();
  remove_backend(area);
}

// Once at a time: the second answer would be "not found", whatever has become of the area meanwhile.
void AreaPlugger::remove_backend(core::AreaId area) {
  if (!removing_.insert(area).second) return;
  ask("object-del", {{"id", backend_id(area)}},
      [this, area, given = times_given(area)](const QmpReply& reply) {
        removing_.erase(area);
        if (!reply && reply.error().kind == QmpError::Kind::lost) return;
        if (!reply && reply.error().kind == QmpError::Kind::late) return broken_(reply.error().message);
        const bool unasked = unasked_.erase(area) != 0;
        const bool asked = leaving_.erase(area) != 0;
        const bool absent = !reply && reply.error().message.find("not found") != std::string::npos;
        if (reply || absent) {
          stray_backends_.erase(area);
          is_out(area, given);
          if (asked || unasked) emit_(AreaUnplugged{run_, area});
        } else if (asked) {
          emit_(UnplugFailed{run_, area, reply.error().message, false});
        }
      });
}

}  // namespace understudy::qemu
