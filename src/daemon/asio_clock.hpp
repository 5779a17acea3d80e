#pragma once

#include "engine/ports.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

namespace understudy::daemon {

// The clock port over the loop's timer.
class AsioClock final : public engine::Clock {
 public:
  AsioClock(boost::asio::io_context& loop, engine::EventSink sink) : timer_(loop), sink_(std::move(sink)) {}

  [[nodiscard]] Time now() const override {
    return Time(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }

  void wake_at(Time at) override {
    timer_.expires_at(std::chrono::steady_clock::time_point(at.time_since_epoch()));
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) sink_(core::event::Tick{});
    });
  }

 private:
  boost::asio::steady_timer timer_;
  engine::EventSink sink_;
};

}  // namespace understudy::daemon
