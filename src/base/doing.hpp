#pragma once

#include "base/time.hpp"

#include <string>

namespace understudy {

// What a thread is doing, in words: a mark for the time of a scope. The daemon's watch over its loop
// (daemon/loop_watch.hpp) reads them when the loop was held up; nobody else need know that they are there.
//   const Doing doing("the journal");
class Doing final {
 public:
  explicit Doing(const char* what);
  ~Doing();
  Doing(const Doing&) = delete;
  Doing& operator=(const Doing&) = delete;

  // Of this thread, since forget(): the longest of the outermost marks, with the part of it that was most of
  // it ("launch: starting QEMU"), and how long all marks called kJournal took together.
  struct Longest {
    std::string what;  // empty: nothing was marked
    Duration took{};
    Duration journal{};
  };
  [[nodiscard]] static Longest longest();
  static void forget();

  // Durable before acted on: the one thing that the loop may wait for.
  static constexpr const char* kJournal = "the journal";

 private:
  const char* what_;
  Doing* outer_;
  Time began_;
  std::string inner_;  // the longest mark within this one
  Duration inner_took_{};
};

}  // namespace understudy
