#include "base/doing.hpp"

#include <chrono>
#include <string_view>

namespace understudy {

namespace {

thread_local Doing* innermost = nullptr;
thread_local Doing::Longest of_thread;

Time now() {
  return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

}  // namespace

Doing::Doing(const char* what) : what_(what), outer_(innermost), began_(now()) {
  innermost = this;
}

Doing::~Doing() {
  innermost = outer_;
  const Duration took = now() - began_;
  if (std::string_view(what_) == kJournal) of_thread.journal += took;
  if (took <= (outer_ != nullptr ? outer_->inner_took_ : of_thread.took)) return;
  // Named by its part when that was the most of it.
  const bool by_part = !inner_.empty() && 2 * inner_took_ > took;
  std::string what = by_part ? std::string(what_) + ": " + inner_ : what_;
  (outer_ != nullptr ? outer_->inner_ : of_thread.what) = std::move(what);
  (outer_ != nullptr ? outer_->inner_took_ : of_thread.took) = took;
}

Doing::Longest Doing::longest() {
  return of_thread;
}

void Doing::forget() {
  of_thread.what.clear();
  of_thread.took = of_thread.journal = Duration{};
}

}  // namespace understudy
