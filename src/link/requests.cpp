#include "link/requests.hpp"

#include <algorithm>
#include <optional>

namespace understudy::link {

namespace {

namespace to = protocol::to_agent;

template <class T>
constexpr bool kHasApp = requires(const T& request) {
  request.app;
  request.epoch;
};

// The application and epoch that a request is about, if it is about one.
std::optional<std::pair<protocol::AppNumber, protocol::Epoch>> about(const protocol::ToAgent& request) {
  return std::visit(
      [](const auto& one) -> std::optional<std::pair<protocol::AppNumber, protocol::Epoch>> {
        if constexpr (kHasApp<std::decay_t<decltype(one)>>) return {{one.app, one.epoch}};
        return std::nullopt;
      },
      request);
}

// A start of an older epoch, or one that is to be stopped, would only be refused; nothing else of an older
// epoch matters to anybody either.
bool made_pointless(const protocol::ToAgent& old, const protocol::ToAgent& request) {
  if (old == request) return true;
  const auto was = about(old);
  const auto is = about(request);
  if (!was || !is || was->first != is->first) return false;
  if (was->second < is->second) return true;
  const bool starts = std::holds_alternative<to::Start>(old) || std::holds_alternative<to::GrowDone>(old) ||
                      std::holds_alternative<to::GrowRefused>(old);
  return (starts && std::holds_alternative<to::Stop>(request)) ||
         (old.index() == request.index() && !std::holds_alternative<to::Engage>(request));
}

}  // namespace

bool Requests::add(const protocol::ToAgent& request) {
  std::erase_if(requests_, [&](const auto& old) { return made_pointless(old, request); });
  if (requests_.size() >= kMost) return false;
  requests_.push_back(request);
  if (const auto* engage = std::get_if<to::Engage>(&request)) {
    for (const auto& area : engage->areas) know_area(area);
  }
  return true;
}

const to::Engage* Requests::find_engage(protocol::AppNumber app, protocol::Epoch epoch,
                                        std::span<const protocol::AreaNumber> areas) const {
  std::vector<protocol::AreaNumber> answered(areas.begin(), areas.end());
  std::sort(answered.begin(), answered.end());
  for (const auto& request : requests_) {
    const auto* engage = std::get_if<to::Engage>(&request);
    if (engage == nullptr || engage->app != app || engage->epoch != epoch) continue;
    std::vector<protocol::AreaNumber> asked;
    for (const auto& area : engage->areas) asked.push_back(area.id);
    std::sort(asked.begin(), asked.end());
    if (asked == answered) return engage;
  }
  return nullptr;
}

void Requests::answered(const to::Engage& engage) {
  const to::Engage copy = engage;  // it may be the one that goes
  std::erase_if(requests_, [&](const auto& request) {
    const auto* found = std::get_if<to::Engage>(&request);
    return found != nullptr && *found == copy;
  });
}

void Requests::state_answered() {
  std::erase_if(requests_, [](const auto& request) { return std::holds_alternative<to::Query>(request); });
}

const protocol::Area* Requests::area(protocol::AreaNumber id) const {
  const auto found = areas_.find(id);
  return found == areas_.end() ? nullptr : &found->second;
}

}  // namespace understudy::link
