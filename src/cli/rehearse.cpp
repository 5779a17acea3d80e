#include "cli/cli.hpp"
#include "control/client.hpp"

#include <fmt/format.h>

namespace understudy::cli {

namespace {

namespace json = boost::json;

// The application's part of the status, if its last rehearsal is the one that was asked for, or a later one.
Result<std::optional<json::object>> ended(const std::filesystem::path& socket, const Options& options,
                                          const std::string& app, std::uint64_t number) {
  auto client = control::Client::connect(socket, options.waiting());
  const auto status = client ? client->ask(control::command::Status{}) : tl::unexpected(client.error());
  if (!status) return tl::unexpected(status.error());
  for (const json::value& value : status->as_object().at("applications").as_array()) {
    const json::object& each = value.as_object();
    if (each.at("name").as_string() != app || !each.at("rehearsal").is_object()) continue;
    if (each.at("rehearsal").as_object().at("number").to_number<std::uint64_t>() >= number) return each;
  }
  return std::nullopt;
}

}  // namespace

int rehearse(const std::string& app, bool start, const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  const auto socket = control::RunFiles{*dir}.control_socket();
  auto client = control::Client::connect(socket, options.waiting());
  if (!client) return complain(client.error().message);
  const auto begun = client->ask(control::command::Rehearse{app, start});
  if (!begun) return complain(begun.error().message);
  const auto number = begun->as_object().at("rehearsal").to_number<std::uint64_t>();

  auto events = control::Client::connect(socket, options.waiting());
  if (!events) return complain(events.error().message);
  std::optional<json::object> found;
  std::string trouble;
  const auto look = [&] {
    auto status = ended(socket, options, app, number);
    if (status) {
      found = std::move(*status);
    } else {
      trouble = status.error().message;
    }
    return status && !found;
  };
  // The events of before come first: whether it is over the status says.
  const auto followed = events->events(
      true,
      [&](const json::object& event) {
        const json::string& kind = event.at("kind").as_string();
        return (kind != "rehearsal-passed" && kind != "rehearsal-failed") || look();
      },
      look);
  if (!trouble.empty()) return complain(trouble);
  if (!found) return complain("understudyd ended" + (followed ? "" : " (" + followed.error().message + ")"));
  if (options.json) {
    fmt::print("{}\n", json::serialize(json::object{{"application", app},
                                                    {"rehearsal", found->at("rehearsal")},
                                                    {"proven", found->at("proven")}}));
  } else {
    print_rehearsal(*found);
  }
  return found->at("rehearsal").as_object().at("passed").as_bool() ? kDone : kCouldNot;
}

}  // namespace understudy::cli
