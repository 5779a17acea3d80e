#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

namespace understudy {

// What went wrong, for a person: it names what, where, and what to do. An error that a caller would
// treat differently from others gets a type of its own instead.
struct Error {
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> failure(std::string message) {
  return tl::unexpected<Error>(Error{std::move(message)});
}

}  // namespace understudy
