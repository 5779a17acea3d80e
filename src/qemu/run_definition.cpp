#include "qemu/run_definition.hpp"

#include "base/units.hpp"
#include "qemu/guest_files.hpp"
#include "qemu/proc.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <optional>

#include <boost/json.hpp>
#include <system_error>

namespace understudy::qemu {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr int kForm = 1;
constexpr std::size_t kMostPorts = 4096;
// Of a whole file: the welcome line, which is the largest part, is far below it.
constexpr std::size_t kLargestBytes = 4 << 20;

// Reads the members of an object; the first that is missing or wrong makes the whole of it wrong.
class Members {
 public:
  explicit Members(const json::object& object) : object_(object) {}

  std::string text(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    if (value != nullptr && value->is_string()) return std::string(value->get_string());
    wrong_ = true;
    return "";
  }
  template <class Number>
  Number number(std::string_view key) {
    const json::value* value = object_.if_contains(key);
    return value == nullptr ? miss<Number>() : number_of<Number>(*value);
  }
  std::vector<std::string> texts(std::string_view key) {
    std::vector<std::string> texts;
    const json::value* value = object_.if_contains(key);
    if (value == nullptr || !value->is_array()) return miss<std::vector<std::string>>();
    for (const json::value& each : value->get_array()) {
      if (!each.is_string()) return miss<std::vector<std::string>>();
      texts.emplace_back(each.get_string());
    }
    return texts;
  }
  std::vector<std::uint16_t> ports(std::string_view key) {
    std::vector<std::uint16_t> ports;
    const json::value* value = object_.if_contains(key);
    if (value == nullptr || !value->is_array() || value->get_array().size() > kMostPorts)
      return miss<std::vector<std::uint16_t>>();
    for (const json::value& each : value->get_array()) ports.push_back(number_of<std::uint16_t>(each));
    return ports;
  }
  std::map<std::string, std::uint16_t> ports_by_name(std::string_view key) {
    std::map<std::string, std::uint16_t> ports;
    const json::value* value = object_.if_contains(key);
    if (value == nullptr || !value->is_object() || value->get_object().size() > kMostPorts)
      return miss<std::map<std::string, std::uint16_t>>();
    for (const auto& [name, port] : value->get_object())
      ports[std::string(name)] = number_of<std::uint16_t>(port);
    return ports;
  }
  [[nodiscard]] bool wrong() const { return wrong_; }

 private:
  template <class T>
  T miss() {
    wrong_ = true;
    return T{};
  }
  template <class Number>
  Number number_of(const json::value& value) {
    std::optional<std::uint64_t> number;
    if (value.is_uint64()) number = value.get_uint64();
    if (value.is_int64() && value.get_int64() >= 0) number = static_cast<std::uint64_t>(value.get_int64());
    if (!number || *number > std::numeric_limits<Number>::max()) return miss<Number>();
    return static_cast<Number>(*number);
  }

  const json::object& object_;
  bool wrong_ = false;
};

constexpr const char* accelerator_word(Accelerator accelerator) {
  return accelerator == Accelerator::kvm ? "kvm" : "tcg";
}

// The value of an option that is given as two arguments; empty: it is not there.
std::string option(const std::vector<std::string>& arguments, std::string_view name) {
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == name) return arguments[i + 1];
  }
  return "";
}

// "key=123" in "a,key=123,b", or the number at the start with an empty key.
std::optional<std::uint64_t> number_in(std::string_view text, std::string_view key) {
  std::size_t at = 0;
  if (!key.empty()) {
    const std::string wanted = "," + std::string(key) + "=";
    at = text.find(wanted);
    if (at == std::string_view::npos) return std::nullopt;
    at += wanted.size();
  }
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data() + at, text.data() + text.size(), number);
  if (code != std::errc()) return std::nullopt;
  return number;
}

// The guest's ports of "user,id=net0,hostfwd=tcp:127.0.0.1:0-:6379,...", in their order.
std::vector<std::uint16_t> forwarded_by(std::string_view netdev) {
  constexpr std::string_view kForward = ",hostfwd=";
  std::vector<std::uint16_t> ports;
  for (std::size_t at = netdev.find(kForward); at != std::string_view::npos;
       at = netdev.find(kForward, at + 1)) {
    const std::string_view one = netdev.substr(at + 1, netdev.find(',', at + 1) - at - 1);
    const std::size_t colon = one.rfind(':');
    std::uint16_t port = 0;
    const auto [end, code] = std::from_chars(one.data() + colon + 1, one.data() + one.size(), port);
    if (code == std::errc() && end == one.data() + one.size()) ports.push_back(port);
  }
  return ports;
}

std::string ports_text(const GuestPlan& plan) {
  std::vector<std::string> words;
  for (const auto& [name, port] : plan.app_ports) words.push_back(fmt::format("{} for {}", port, name));
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

}  // namespace

std::string encode(const RunDefinition& definition) {
  const GuestPlan& plan = definition.plan;
  json::object app_ports;
  for (const auto& [name, port] : plan.app_ports) app_ports[name] = port;
  return json::serialize(json::object{{"form", kForm},
                                      {"run", definition.run},
                                      {"name", plan.name},
                                      {"base_bytes", plan.base_bytes},
                                      {"area_bytes", plan.area_bytes},
                                      {"slots", plan.slots},
                                      {"vcpus", plan.vcpus},
                                      {"more_vcpus", plan.more_vcpus},
                                      {"trust_domain", plan.trust_domain},
                                      {"kernel", plan.image.kernel.string()},
                                      {"initramfs", plan.image.initramfs.string()},
                                      {"disk", plan.image.disk.string()},
                                      {"image_stamp", definition.image_stamp},
                                      {"ports", json::value_from(plan.ports)},
                                      {"closed_port", plan.closed_port},
                                      {"app_ports", std::move(app_ports)},
                                      {"accelerator", accelerator_word(definition.accelerator)},
                                      {"apps", json::value_from(definition.apps)},
                                      {"told", plan.told}});
}

std::optional<RunDefinition> decode_definition(std::string_view text) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  const json::value value = json::parse(json::string_view(text.data(), text.size()), error, {}, options);
  if (error || !value.is_object()) return std::nullopt;
  Members members(value.get_object());
  if (members.number<std::uint32_t>("form") != kForm) return std::nullopt;
  RunDefinition definition;
  GuestPlan& plan = definition.plan;
  definition.run = members.number<std::uint32_t>("run");
  plan.name = members.text("name");
  plan.base_bytes = members.number<Bytes>("base_bytes");
  plan.area_bytes = members.number<Bytes>("area_bytes");
  plan.slots = members.number<std::uint32_t>("slots");
  plan.vcpus = members.number<std::uint32_t>("vcpus");
  plan.more_vcpus = members.number<std::uint32_t>("more_vcpus");
  plan.trust_domain = members.text("trust_domain");
  plan.image = {members.text("kernel"), members.text("initramfs"), members.text("disk")};
  definition.image_stamp = members.text("image_stamp");
  plan.ports = members.ports("ports");
  plan.closed_port = members.number<std::uint16_t>("closed_port");
  plan.app_ports = members.ports_by_name("app_ports");
  const std::string accelerator = members.text("accelerator");
  definition.accelerator = accelerator == "kvm" ? Accelerator::kvm : Accelerator::tcg;
  definition.apps = members.texts("apps");
  plan.told = members.text("told");
  const bool known = accelerator == "kvm" || accelerator == "tcg";
  if (members.wrong() || !known || plan.base_bytes == 0) return std::nullopt;
  return definition;
}

Result<void> write_definition(const fs::path& file, const RunDefinition& definition) {
  const fs::path fresh = file.string() + ".new";
  std::ofstream out(fresh, std::ios::trunc | std::ios::binary);
  out << encode(definition) << '\n';
  out.close();
  std::error_code error;
  if (out) fs::rename(fresh, file, error);
  if (out && !error) return {};
  fs::remove(fresh, error);
  return failure("cannot write " + file.string() + "; is the disk full?");
}

std::optional<RunDefinition> read_definition(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kLargestBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
  if (text.size() > kLargestBytes) return std::nullopt;
  return decode_definition(text);
}

RunDefinition definition_of_arguments(const std::vector<std::string>& arguments, std::uint32_t run,
                                      const GuestPlan& configured) {
  RunDefinition definition;
  definition.run = run;
  definition.plan = configured;
  definition.plan.told.clear();
  definition.plan.trust_domain.clear();
  definition.recorded = false;
  GuestPlan& plan = definition.plan;
  const std::string memory = option(arguments, "-m");
  if (const auto base = number_in(memory, "")) plan.base_bytes = *base << 20;
  plan.slots = static_cast<std::uint32_t>(number_in(memory, "slots").value_or(0));
  const std::string smp = option(arguments, "-smp");
  plan.vcpus = static_cast<std::uint32_t>(number_in(smp, "").value_or(plan.vcpus));
  const auto most = static_cast<std::uint32_t>(number_in(smp, "maxcpus").value_or(plan.vcpus));
  plan.more_vcpus = most - std::min(most, plan.vcpus);
  if (const std::string accelerator = option(arguments, "-accel"); !accelerator.empty())
    definition.accelerator = accelerator.starts_with("kvm") ? Accelerator::kvm : Accelerator::tcg;
  plan.ports = forwarded_by(option(arguments, "-netdev"));
  if (!plan.ports.empty()) {
    plan.closed_port = plan.ports.back();  // it was added last
    plan.ports.pop_back();
  }
  std::erase_if(plan.app_ports, [&](const auto& each) {
    return std::find(plan.ports.begin(), plan.ports.end(), each.second) == plan.ports.end();
  });
  return definition;
}

RunDefinition definition_of_process(const FoundProcess& process) {
  const Marker& marker = process.marker;
  const auto files = GuestFiles::at(marker.run_dir, marker.guest);
  auto written = files ? read_definition(files->definition) : std::nullopt;
  if (written && written->run == marker.run && written->plan.name == marker.guest) return std::move(*written);
  return definition_of_arguments(arguments_of(process.pid), marker.run, {});
}

core::Definition core_definition(const GuestPlan& plan) {
  return {plan.base_bytes, plan.slots, plan.vcpus, plan.trust_domain};
}

std::vector<core::Difference> differences(const RunDefinition& run, const RunDefinition& next) {
  std::vector<core::Difference> found;
  const auto compare = [&found](const char* what, const std::string& has, const std::string& file) {
    if (has != file) found.push_back({what, has, file});
  };
  const GuestPlan& has = run.plan;
  const GuestPlan& file = next.plan;
  compare("base memory", format_size(has.base_bytes), format_size(file.base_bytes));
  compare("slots", std::to_string(has.slots), std::to_string(file.slots));
  compare("vCPUs", std::to_string(has.vcpus), std::to_string(file.vcpus));
  compare("places for applications' vCPUs", std::to_string(has.more_vcpus), std::to_string(file.more_vcpus));
  if (run.recorded) compare("trust domain", has.trust_domain, file.trust_domain);
  compare("forwarded ports", ports_text(has), ports_text(file));
  compare("accelerator", accelerator_name(run.accelerator), accelerator_name(next.accelerator));
  const std::size_t before = found.size();
  compare("kernel", has.image.kernel.string(), file.image.kernel.string());
  compare("initramfs", has.image.initramfs.string(), file.image.initramfs.string());
  compare("disk", has.image.disk.string(), file.image.disk.string());
  // Only a known stamp tells that files of the same name are others by now.
  if (found.size() == before && !run.image_stamp.empty() && !next.image_stamp.empty() &&
      run.image_stamp != next.image_stamp)
    found.push_back({"image", "as it was built then", "built anew since"});
  return found;
}

}  // namespace understudy::qemu
