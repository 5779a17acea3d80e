// `understudy logs`: what an application printed, as its guests' agents kept it.
#include "cli/cli.hpp"
#include "control/client.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>

namespace understudy::cli {

namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds kAskAgain{30};

void print_output(const std::string& app, const json::object& guest) {
  const std::string_view name = guest.at("guest").as_string();
  const json::value& text = guest.at("text");
  if (!text.is_string()) return fmt::print("  {} on {}: its guest has not answered\n", app, name);
  if (text.get_string().empty()) return fmt::print("  {} on {}: it has printed nothing\n", app, name);
  fmt::print("  {} on {}:\n", app, name);
  std::istringstream lines{std::string(text.get_string())};
  for (std::string line; std::getline(lines, line);) fmt::print("    | {}\n", line);
}

}  // namespace

int logs(const std::string& app, const Options& options) {
  const auto dir = control::run_dir(options.run_dir);
  if (!dir) return complain(dir.error().message);
  auto client = control::Client::connect(control::RunFiles{*dir}.control_socket(), options.waiting());
  if (!client) return complain(client.error().message);
  auto answer = client->ask(control::command::Logs{app, 0});
  const auto end = std::chrono::steady_clock::now() + options.answer_limit;
  while (answer && !answer->as_object().at("complete").as_bool() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kAskAgain);
    answer =
        client->ask(control::command::Logs{app, answer->as_object().at("number").to_number<std::uint64_t>()});
  }
  if (!answer) return complain(answer.error().message);
  const json::object& output = answer->as_object();
  if (options.json) {
    fmt::print("{}\n", json::serialize(output));
  } else {
    for (const json::value& guest : output.at("guests").as_array()) print_output(app, guest.as_object());
  }
  return output.at("complete").as_bool() ? kDone : kCouldNot;
}

}  // namespace understudy::cli
