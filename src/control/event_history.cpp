#include "control/event_history.hpp"

#include <algorithm>
#include <limits>
#include <string_view>

#include <boost/json.hpp>

namespace understudy::control {

namespace {

namespace json = boost::json;

template <class Map>
auto fullest(Map& of, std::size_t EventHistory::Size::*measure) {
  return std::max_element(of.begin(), of.end(), [measure](const auto& one, const auto& other) {
    return one.second.size.*measure < other.second.size.*measure;
  });
}

std::string text_of(const json::object& event, std::string_view field) {
  const json::value* value = event.if_contains(field);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

}  // namespace

void EventHistory::add(const Origin& origin, std::string line) {
  Source& source = sources_[{origin.guest, origin.guest.empty() ? origin.application : ""}];
  Stream& stream = source.streams[{origin.application, origin.kind}];
  stream.events.push_back(next_);
  for (Size* size : {&stream.size, &source.size, &size_}) {
    ++size->events;
    size->bytes += line.size();
  }
  lines_.emplace_hint(lines_.end(), next_++, std::move(line));
  while (size_.events > most_.events) drop(&Size::events);
  while (size_.bytes > most_.bytes) drop(&Size::bytes);
}

// Looks at every source, and at every stream of one: there are as many as names in the configuration and
// kinds of events.
void EventHistory::drop(std::size_t Size::*measure) {
  const auto source = fullest(sources_, measure);
  const auto stream = fullest(source->second.streams, measure);
  const auto oldest = lines_.find(stream->second.events.front());
  for (Size* size : {&stream->second.size, &source->second.size, &size_}) {
    --size->events;
    size->bytes -= oldest->second.size();
  }
  lines_.erase(oldest);
  stream->second.events.pop_front();
  if (stream->second.events.empty()) source->second.streams.erase(stream);
  if (source->second.streams.empty()) sources_.erase(source);
}

std::vector<std::string> EventHistory::lines() const {
  std::vector<std::string> all;
  all.reserve(lines_.size());
  for (const auto& [place, line] : lines_) all.push_back(line);
  return all;
}

std::optional<EventLine> read_event_line(const std::string& line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) return std::nullopt;
  const json::object& event = value.get_object();
  const json::value* number = event.if_contains("number");
  if (number == nullptr) return std::nullopt;
  const auto counted = number->to_number<std::uint64_t>(error);
  if (error) return std::nullopt;
  return EventLine{counted, {text_of(event, "guest"), text_of(event, "application"), text_of(event, "kind")}};
}

std::vector<std::string> kept_of(std::vector<std::string> lines, std::uint64_t most_bytes) {
  EventHistory history({std::numeric_limits<std::size_t>::max(), static_cast<std::size_t>(most_bytes)});
  std::optional<std::uint64_t> latest;
  for (std::string& line : lines) {
    const auto event = read_event_line(line);
    if (!event || (latest && event->number <= *latest)) continue;
    latest = event->number;
    line += '\n';
    history.add(event->origin, std::move(line));
  }
  std::vector<std::string> kept = history.lines();
  for (std::string& line : kept) line.pop_back();
  return kept;
}

}  // namespace understudy::control
