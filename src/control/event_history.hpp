#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace understudy::control {

// The latest events, bounded, and shared out: whoever causes many loses its own.
//
// Each event has a source (its guest; else its application; else the daemon) and, within that, a stream (the
// events of one kind about one application). When there is no room, the oldest event of the fullest stream of
// the fullest source goes. So with S sources in it, a source that has no more than 1/S of the room loses
// nothing, whatever the others do; and of one that has more, its share is divided among its streams likewise.
class EventHistory final {
 public:
  // Empty: none.
  struct Origin {
    std::string guest;
    std::string application;
    std::string kind;
  };
  struct Size {
    std::size_t events = 0;
    std::size_t bytes = 0;
  };

  explicit EventHistory(Size most) : most_(most) {}

  void add(const Origin& origin, std::string line);

  // In the order in which they were added.
  [[nodiscard]] std::vector<std::string> lines() const;
  [[nodiscard]] Size size() const { return size_; }

 private:
  using Place = std::uint64_t;  // in the order of all
  struct Stream {
    Size size;
    std::deque<Place> events;
  };
  struct Source {
    Size size;
    std::map<std::pair<std::string, std::string>, Stream> streams;  // by application and kind
  };

  void drop(std::size_t Size::*measure);

  Size most_;
  Size size_;
  Place next_ = 0;
  std::map<Place, std::string> lines_;
  std::map<std::pair<std::string, std::string>, Source> sources_;  // by guest, or application without one
};

// What an event's line of JSON says about itself; nothing when it is no event's line.
struct EventLine {
  std::uint64_t number = 0;
  EventHistory::Origin origin;
};
[[nodiscard]] std::optional<EventLine> read_event_line(const std::string& line);

// Of the lines of event files, the oldest first, what such a history of so many bytes would have (a newline
// for each included). What is no event, and what stands there again, is left out.
[[nodiscard]] std::vector<std::string> kept_of(std::vector<std::string> lines, std::uint64_t most_bytes);

}  // namespace understudy::control
