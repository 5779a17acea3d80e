#pragma once

#include "core/outputs.hpp"
#include "protocol/messages.hpp"

#include <map>
#include <span>
#include <vector>

namespace understudy::link {

// What was asked of one guest run and is not answered yet. It is sent again after every new greeting: every
// request of the protocol may be repeated, and the agent or its connection may have lost it.
class Requests {
 public:
  static constexpr std::size_t kMost = 256;

  // Kept until it is answered. A newer request takes the place of an older one that it makes pointless.
  // False: too many are unanswered.
  [[nodiscard]] bool add(const protocol::ToAgent& request);

  // The unanswered request of this type for the application and epoch; null: there is none.
  template <class T>
  [[nodiscard]] const T* find(protocol::AppNumber app, protocol::Epoch epoch) const;
  // The unanswered engagement of exactly these areas, in any order.
  [[nodiscard]] const protocol::to_agent::Engage* find_engage(
      protocol::AppNumber app, protocol::Epoch epoch, std::span<const protocol::AreaNumber> areas) const;

  template <class T>
  void answered(protocol::AppNumber app, protocol::Epoch epoch);
  void answered(const protocol::to_agent::Engage& engage);
  void state_answered();

  [[nodiscard]] const std::vector<protocol::ToAgent>& unanswered() const { return requests_; }

  // Where the guest has its areas, as far as it is known: release requests name addresses.
  void know_area(const protocol::Area& area) { areas_[area.id] = area; }
  [[nodiscard]] const protocol::Area* area(protocol::AreaNumber id) const;

 private:
  std::vector<protocol::ToAgent> requests_;
  std::map<protocol::AreaNumber, protocol::Area> areas_;
};

template <class T>
const T* Requests::find(protocol::AppNumber app, protocol::Epoch epoch) const {
  for (const auto& request : requests_) {
    const auto* found = std::get_if<T>(&request);
    if (found != nullptr && found->app == app && found->epoch == epoch) return found;
  }
  return nullptr;
}

template <class T>
void Requests::answered(protocol::AppNumber app, protocol::Epoch epoch) {
  std::erase_if(requests_, [&](const auto& request) {
    const auto* found = std::get_if<T>(&request);
    return found != nullptr && found->app == app && found->epoch == epoch;
  });
}

}  // namespace understudy::link
