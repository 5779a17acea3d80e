#include "qemu/vcpu_plugger.hpp"

#include "base/units.hpp"
#include "qemu/acpi_ost.hpp"
#include "qemu/command_line.hpp"
#include "qemu/json_field.hpp"

#include <algorithm>
#include <utility>

namespace understudy::qemu {

namespace json = boost::json;
using namespace core::event;

VcpuPlugger::VcpuPlugger(boost::asio::io_context& loop, std::shared_ptr<QmpClient> monitor,
                         core::GuestRun run, const Limits& limits, bool can_unplug, Emit emit)
    : loop_(loop),
      monitor_(std::move(monitor)),
      run_(run),
      limits_(limits),
      can_unplug_(can_unplug),
      emit_(std::move(emit)) {}

void VcpuPlugger::end() {
  ended_ = true;
  leaving_.clear();
}

void VcpuPlugger::ask(std::string_view command, json::object arguments, QmpClient::Callback answered) {
  monitor_->execute(command, std::move(arguments), limits_.plug,
                    [this, answered = std::move(answered)](const QmpReply& reply) {
                      if (!ended_) answered(reply);
                    });
}

void VcpuPlugger::learn(const std::vector<VcpuPlace>& places) {
  in_.clear();
  for (const VcpuPlace& place : places) {
    if (place.name) in_.insert(*place.name);
  }
}

std::uint32_t VcpuPlugger::count_of(core::AppId app) const {
  return static_cast<std::uint32_t>(
      std::count_if(in_.begin(), in_.end(), [app](const VcpuName& name) { return name.app == app; }));
}

std::vector<PluggedVcpus> VcpuPlugger::plugged() const {
  std::map<core::AppId, std::uint32_t> counts;
  for (const VcpuName& name : in_) ++counts[name.app];
  std::vector<PluggedVcpus> found;
  for (const auto& [app, count] : counts) found.push_back({app, count});
  return found;
}

// ---- into the guest ----
// query-hotpluggable-cpus: what is there, and which places are free. device_add for each that is missing, all
// at once; then the same query, whose answer is what is said. What was plugged is the guest's to bring online
// (its agent does).
void VcpuPlugger::plug(core::AppId app, std::uint32_t count) {
  plugging_.push_back(std::make_shared<Plugging>(Plugging{app, count, ""}));
  if (plugging_.size() == 1) next();
}

void VcpuPlugger::next() {
  ask("query-hotpluggable-cpus", {}, [this](const QmpReply& reply) {
    if (!reply && reply.error().kind == QmpError::Kind::lost) return;
    if (!reply) return finish_plugging(reply.error().message);
    const auto places = read_hotpluggable_cpus(*reply);
    if (!places) return finish_plugging(places.error().message);
    learn(*places);
    add_devices(*places);
  });
}

void VcpuPlugger::add_devices(const std::vector<VcpuPlace>& places) {
  const auto plugging = plugging_.front();
  std::uint32_t missing = plugging->count - std::min(plugging->count, count_of(plugging->app));
  if (missing == 0) return finish_plugging("");
  std::uint32_t index = 0;
  for (const VcpuPlace& place : places) {
    if (place.taken || missing == 0) continue;
    while (in_.count({plugging->app, index}) != 0) ++index;
    json::object arguments = place.props;
    arguments["driver"] = place.type;
    arguments["id"] = vcpu_id(plugging->app, index);
    ++index;
    --missing;
    ask("device_add", std::move(arguments), [plugging](const QmpReply& reply) {
      if (!reply && plugging->why.empty()) plugging->why = reply.error().message;
    });
  }
  if (missing > 0) plugging->why = "the virtual machine was started with no more places for vCPUs";
  ask("query-hotpluggable-cpus", {}, [this](const QmpReply& reply) {
    if (!reply && reply.error().kind == QmpError::Kind::lost) return;
    if (!reply) return finish_plugging(reply.error().message);
    const auto now = read_hotpluggable_cpus(*reply);
    if (!now) return finish_plugging(now.error().message);
    learn(*now);
    finish_plugging("");
  });
}

void VcpuPlugger::finish_plugging(const std::string& why) {
  const Plugging done = *plugging_.front();
  plugging_.pop_front();
  const std::uint32_t count = count_of(done.app);
  std::string reason = done.why.empty() ? why : done.why;
  if (count >= done.count) reason.clear();
  if (count < done.count && reason.empty()) reason = "QEMU says that they are not there";
  emit_(VcpusPlugged{run_, done.app, count, std::move(reason)});
  if (!plugging_.empty()) next();
}

// ---- out of the guest ----
// query-hotpluggable-cpus: what is there. device_del only asks the guest, whose kernel stops using the vCPU;
// DEVICE_DELETED says that it let go. The first of these answers:
//   the last of them is deleted                                   none is left
//   one is refused by QEMU or the guest, or the limit passes      so many are left; what is let go later is
//                                                                 said then, unasked
void VcpuPlugger::unplug(core::AppId app) {
  if (leaving_.count(app) != 0) return;
  Leaving& leaving = leaving_[app];
  leaving.limit = std::make_shared<boost::asio::steady_timer>(loop_);
  leaving.limit->expires_after(limits_.unplug);
  // An expiry may be on its way already when its timer is destroyed: it counts only while that timer lives.
  leaving.limit->async_wait([this, app, weak = std::weak_ptr(leaving.limit)](auto error) {
    if (!error && weak.lock())
      finish_leaving(app, "the guest did not let go within " + format_duration(limits_.unplug));
  });
  ask("query-hotpluggable-cpus", {}, [this, app](const QmpReply& reply) {
    if (!reply && reply.error().kind == QmpError::Kind::lost) return;
    if (!reply) return finish_leaving(app, reply.error().message);
    const auto places = read_hotpluggable_cpus(*reply);
    if (!places) return finish_leaving(app, places.error().message);
    learn(*places);
    if (leaving_.count(app) != 0) delete_devices(app);
  });
}

void VcpuPlugger::delete_devices(core::AppId app) {
  if (count_of(app) == 0) return finish_leaving(app, "");
  if (!can_unplug_) {
    return finish_leaving(app, "QEMU does not survive the unplugging of an emulated vCPU (TCG)");
  }
  for (const VcpuName& name : std::set<VcpuName>(in_)) {
    if (name.app != app) continue;
    ask("device_del", {{"id", vcpu_id(app, name.index)}}, [this, name](const QmpReply& reply) {
      if (reply || reply.error().kind == QmpError::Kind::lost) return;
      const QmpError& error = reply.error();
      if (error.error_class == "DeviceNotFound") return gone(name);
      if (error.message.find("already in the process of unplug") != std::string::npos) return;
      finish_leaving(name.app, error.message);
    });
  }
}

void VcpuPlugger::on_event(const QmpEvent& event) {
  if (event.name == "DEVICE_DELETED") {
    if (const auto name = vcpu_of_id(text_of(event.data, "device"))) return gone(*name);
    // QEMU has been seen to tell of a vCPU's interrupt controller alone
    // ("/machine/peripheral/vcpu-0-0/lapic").
    if (text_of(event.data, "path").starts_with("/machine/peripheral/vcpu-")) look();
  } else if (event.name == "DEVICE_UNPLUG_GUEST_ERROR") {
    if (const auto name = vcpu_of_id(text_of(event.data, "device")))
      finish_leaving(name->app, "the guest refused to let go");
  } else if (event.name == "ACPI_DEVICE_OST") {
    const json::value* info = event.data.if_contains("info");
    if (info == nullptr || !info->is_object()) return;
    const json::object& details = info->get_object();
    const auto name = vcpu_of_id(text_of(details, "device"));
    const std::int64_t source = number_of(details, "source");
    const std::int64_t status = number_of(details, "status");
    if (!name || (source != kOstEjectRequest && source != kOstEjectByOs)) return;
    if (status == kOstSuccess || status == kOstInProgress) return;
    finish_leaving(name->app, "the guest refused to let go (ACPI status " + std::to_string(status) + ")");
  }
}

// What is not there any more?
void VcpuPlugger::look() {
  ask("query-hotpluggable-cpus", {}, [this](const QmpReply& reply) {
    if (!reply) return;  // the limit of whoever waits for it answers
    const auto places = read_hotpluggable_cpus(*reply);
    if (!places) return;
    for (const VcpuName& name : std::set<VcpuName>(in_)) {
      const bool there = std::any_of(places->begin(), places->end(),
                                     [&name](const VcpuPlace& place) { return place.name == name; });
      if (!there) gone(name);
    }
  });
}

void VcpuPlugger::gone(VcpuName name) {
  if (in_.erase(name) == 0) return;
  if (leaving_.count(name.app) == 0) {
    emit_(VcpusUnplugged{run_, name.app, count_of(name.app), ""});
  } else if (count_of(name.app) == 0) {
    finish_leaving(name.app, "");
  }
}

void VcpuPlugger::finish_leaving(core::AppId app, const std::string& why) {
  if (leaving_.erase(app) == 0) return;  // nobody asked, or it was said already
  emit_(VcpusUnplugged{run_, app, count_of(app), why});
}

}  // namespace understudy::qemu
