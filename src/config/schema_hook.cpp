// [[hook]]: a command of the host that is run when an event is written.
#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/suggest.hpp"
#include "config/table_reader.hpp"
#include "core/notice_kinds.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::config {

namespace {

// Empty: it can be waited for.
std::string why_not_on(const std::string& kind) {
  if (core::is_about_hooks(kind)) {
    return fmt::format(
        "no hook runs on {}, which tells of a hook: one that fails would go on for ever; remove it",
        in_quotes(kind));
  }
  const std::vector<std::string_view> kinds(core::kNoticeKinds.begin(), core::kNoticeKinds.end());
  if (kind == "*" || std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return "";
  std::string advice = did_you_mean(kind, kinds);
  if (advice.empty()) {
    advice =
        "; write \"*\" for every event, or a kind that `understudy events --json` shows, such as "
        "\"takeover-done\"";
  }
  return fmt::format("there is no kind of event {}{}", in_quotes(kind), advice);
}

void read_on(TableReader& table, std::vector<std::string>& on) {
  if (!table.require("on", "[\"takeover-done\"]")) return;
  const Value* list = table.list("on");
  if (list == nullptr) return;
  if (list->items.empty()) {
    table.report().add(list->at, "on is empty, so the hook would never run; write on = [\"takeover-done\"]");
  }
  for (const Value& item : list->items) {
    if (item.kind != Value::Kind::string) {
      table.report().add(
          item.at,
          fmt::format("an entry in on is {}, every one has to be text in quotes; write it as \"...\"",
                      kind_name(item.kind)));
    } else if (const std::string why = why_not_on(item.text); !why.empty()) {
      table.report().add(item.at, why);
    } else {
      on.push_back(item.text);
    }
  }
}

}  // namespace

Hook read_hook(const Value& value, Report& report, bool damaged) {
  TableReader table(value, value.at, "[[hook]]", report, damaged);
  Hook hook;
  read_on(table, hook.on);
  if (table.require("command", "[\"/usr/local/bin/tell\", \"me\"]"))
    table.command("command", hook.command, "on the host, such as \"/usr/local/bin/tell\"");
  table.duration("limit", hook.limit, std::chrono::milliseconds(10), std::chrono::minutes(10));
  table.finish();
  return hook;
}

}  // namespace understudy::config
