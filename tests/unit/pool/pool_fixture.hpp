#pragma once

#include "pool/area_pool.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>

namespace understudy::pool::test {

namespace fs = std::filesystem;

// A run directory of its own for every test, and everything that the pool made for it removed afterwards.
struct RunDir {
  RunDir() {
    std::string name = (fs::temp_directory_path() / "us-pool-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
  }
  ~RunDir() {
    (void)AreaPool::remove(path);
    fs::remove_all(path);
  }
  static config::Pool config(bool reserve = true, Bytes area_bytes = 4_MiB) {
    config::Pool pool;
    pool.area_bytes = area_bytes;
    pool.reserve = reserve;
    return pool;
  }
  fs::path path;
};

struct Loop {
  boost::asio::io_context context;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard =
      boost::asio::make_work_guard(context);
  std::vector<core::Event> events;
  engine::EventSink sink() {
    return [this](core::Event event) { events.push_back(std::move(event)); };
  }
  // Runs until the next event was delivered.
  void await_event() {
    const std::size_t before = events.size();
    while (events.size() == before && context.run_one_for(std::chrono::seconds(20)) != 0) {
    }
    ASSERT_GT(events.size(), before) << "no event came";
  }
};

}  // namespace understudy::pool::test
