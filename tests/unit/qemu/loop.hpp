#pragma once

#include "../contained.hpp"
#include "core/events.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

namespace understudy::qemu {

// An event loop that runs until something has come about, and no longer than a test may take.
struct Loop {
  boost::asio::io_context context;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard =
      boost::asio::make_work_guard(context);

  [[nodiscard]] bool until(const std::function<bool()>& done,
                           std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    // Not all that is waited for is an event of the loop: a file, or the state of a process, is looked at.
    constexpr std::chrono::milliseconds kLook{10};
    while (!done()) {
      if (std::chrono::steady_clock::now() >= deadline) return done();
      context.run_one_for(kLook);
    }
    return true;
  }
  // Everything that comes within this time, to see that nothing does.
  void run_for(std::chrono::milliseconds time) { context.run_for(time); }
};

// A directory of its own for every test.
struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "us-qemu-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = std::filesystem::canonical(name);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::filesystem::path path;
};

}  // namespace understudy::qemu
