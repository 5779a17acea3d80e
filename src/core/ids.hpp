#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace understudy::core {

// Index into the Setup's list of that kind. Distinct types, so that a guest is never passed for an area.
template <class Tag>
struct Id {
  std::uint32_t value = 0;
  auto operator<=>(const Id&) const = default;
};

using GuestId = Id<struct GuestTag>;
using AppId = Id<struct AppTag>;
using AreaId = Id<struct AreaTag>;

// One life of a guest, from its launch to its end. Whatever a former life still has to say is told apart by
// the run and dropped: a late answer from before a fence changes nothing.
struct GuestRun {
  GuestId guest;
  std::uint32_t run = 0;  // 1 is the first; 0 is none
  auto operator<=>(const GuestRun&) const = default;
};

// Counts the starts of one application. Every request to an agent carries it and every answer repeats it.
using Epoch = std::uint64_t;

}  // namespace understudy::core

template <class Tag>
struct std::hash<understudy::core::Id<Tag>> {
  std::size_t operator()(understudy::core::Id<Tag> id) const noexcept { return id.value; }
};
