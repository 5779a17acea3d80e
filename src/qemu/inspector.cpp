#include "qemu/inspector.hpp"

#include "base/shown.hpp"
#include "qemu/acpi_ost.hpp"
#include "qemu/command_line.hpp"
#include "qemu/json_field.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

namespace understudy::qemu {

namespace json = boost::json;
using core::event::GuestSeen;

namespace {

constexpr const char* kOthers = "others";

// What any OS causes that sets up its devices and its clock: worth a look, and not a word.
constexpr std::string_view kOrdinary[] = {"VSERPORT_CHANGE", "RTC_CHANGE", "NIC_RX_FILTER_CHANGED"};
// Whose answers to requests and whose own ways of leaving are handled (area_plugger.cpp, vcpu_plugger.cpp).
constexpr std::string_view kOfPlugged[] = {"DEVICE_DELETED", "MEM_UNPLUG_ERROR", "DEVICE_UNPLUG_GUEST_ERROR"};

template <std::size_t N>
bool is_one_of(const std::string& name, const std::string_view (&list)[N]) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

// Of an area or a vCPU of ours, or of a part of one.
bool is_plugged_by_us(const std::string& device, std::string_view path) {
  constexpr std::string_view kPeripheral = "/machine/peripheral/";
  if (area_of_id(device, "dimm-") || vcpu_of_id(device)) return true;
  if (!path.starts_with(kPeripheral)) return false;
  path.remove_prefix(kPeripheral.size());
  return path.starts_with("dimm-") || path.starts_with("vcpu-");
}

std::vector<core::event::PluggedVcpus> count_by_app(const std::vector<VcpuPlace>& places) {
  std::map<core::AppId, std::uint32_t> counts;
  for (const VcpuPlace& place : places) {
    if (place.name) ++counts[place.name->app];
  }
  std::vector<core::event::PluggedVcpus> plugged;
  for (const auto& [app, count] : counts) plugged.push_back({app, count});
  return plugged;
}

}  // namespace

struct Inspector::Answers {
  std::optional<std::vector<PluggedArea>> areas;
  std::optional<std::vector<VcpuPlace>> vcpus;
};

Inspector::Inspector(boost::asio::io_context& loop, std::shared_ptr<QmpClient> monitor, core::GuestRun run,
                     const Limits& limits, bool has_places_for_vcpus, std::function<bool()> can_look,
                     Emit emit)
    : monitor_(std::move(monitor)),
      run_(run),
      limits_(limits),
      has_places_for_vcpus_(has_places_for_vcpus),
      can_look_(std::move(can_look)),
      emit_(std::move(emit)),
      soon_(std::make_shared<boost::asio::steady_timer>(loop)) {}

void Inspector::end() {
  ended_ = true;
  soon_->cancel();
}

void Inspector::ask(std::string_view command, QmpClient::Callback answered) {
  monitor_->execute(command, {}, limits_.plug, [this, answered = std::move(answered)](const QmpReply& reply) {
    if (!ended_) answered(reply);
  });
}

// QEMU answers in order, and what it told before its answer has been heard before: the two answers are about
// the guest as whoever hears them believes it to be.
void Inspector::look() {
  if (ended_ || looking_ || !can_look_()) return;
  looking_ = true;
  last_look_ = std::chrono::steady_clock::now();
  const auto answers = std::make_shared<Answers>();
  if (has_places_for_vcpus_) {
    ask("query-hotpluggable-cpus", [answers](const QmpReply& reply) {
      if (!reply) return;
      if (auto places = read_hotpluggable_cpus(*reply)) answers->vcpus = std::move(*places);
    });
  }
  ask("query-memory-devices", [this, answers](const QmpReply& reply) {
    looking_ = false;
    if (!reply || !can_look_()) return;
    if (auto areas = read_memory_devices(*reply)) answers->areas = std::move(*areas);
    finish(*answers);
  });
}

void Inspector::finish(const Answers& answers) {
  if (!answers.areas) return;
  GuestSeen seen{run_, {}, {}, take_unexpected()};
  for (const PluggedArea& area : *answers.areas) seen.areas.push_back({area.area, area.guest_address});
  if (!has_places_for_vcpus_) {
    seen.vcpus.emplace();
  } else if (answers.vcpus) {
    seen.vcpus = count_by_app(*answers.vcpus);
  }
  emit_(std::move(seen));
}

void Inspector::on_event(const QmpEvent& event) {
  const std::string device = text_of(event.data, "device");
  if (event.name == "ACPI_DEVICE_OST") {
    const json::value* info = event.data.if_contains("info");
    const json::object* details = info != nullptr ? info->if_object() : nullptr;
    if (details != nullptr && number_of(*details, "source") == kOstEjectByOs) look_soon();
    return;
  }
  const std::string path = text_of(event.data, "path");
  if (is_one_of(event.name, kOfPlugged) && is_plugged_by_us(device, path)) return;
  if (!is_one_of(event.name, kOrdinary)) {
    const std::string& which = device.empty() ? path : device;
    count(shown(event.name, kMostEventNameBytes) +
          (which.empty() ? "" : " (" + shown(which, kMostEventNameBytes) + ")"));
  }
  look_soon();
}

void Inspector::count(const std::string& what) {
  const bool room = unexpected_.size() < kMostEventKinds || unexpected_.count(what) != 0;
  ++unexpected_[room ? what : kOthers];
}

std::string Inspector::take_unexpected() {
  std::string text;
  for (const auto& [what, times] : std::exchange(unexpected_, {})) {
    text += (text.empty() ? "" : ", ") + what;
    if (times > 1) text += " " + std::to_string(times) + " times";
  }
  return text;
}

void Inspector::look_soon() {
  if (ended_ || std::exchange(armed_, true)) return;
  soon_->expires_at(std::max(std::chrono::steady_clock::now(), last_look_ + limits_.look_again));
  soon_->async_wait([this, weak = std::weak_ptr(soon_)](auto error) {
    if (error || !weak.lock() || ended_) return;
    armed_ = false;
    last_look_ = std::chrono::steady_clock::now();
    if (looking_ || !can_look_()) return look_soon();
    look();
  });
}

}  // namespace understudy::qemu
