#include "gateway/signal_watch.hpp"

#include "base/inherited_state.hpp"
#include "gateway/limits.hpp"

#include <utility>

namespace understudy::gateway {

SignalWatch::SignalWatch(boost::asio::io_context& loop, std::string program, Handlers handlers)
    : program_(std::move(program)), handlers_(std::move(handlers)), end_(loop), others_(loop) {
  for (const int number : signals_that_end()) end_.add(number);
  for (const int number : signals_without_meaning()) others_.add(number);
  wait_for_end();
  wait_for_others();
}

void SignalWatch::wait_for_end() {
  end_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    handlers_.end(number);
    wait_for_end();
  });
}

void SignalWatch::wait_for_others() {
  others_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    say_once(number);
    wait_for_others();
  });
}

// Whoever sends ten thousand of them fills no log.
void SignalWatch::say_once(int number) {
  const auto now = std::chrono::steady_clock::now();
  const auto said = said_.find(number);
  if (said != said_.end() && now - said->second < kSayAgain) return;
  said_[number] = now;
  handlers_.without_meaning(without_meaning(number, program_));
}

}  // namespace understudy::gateway
