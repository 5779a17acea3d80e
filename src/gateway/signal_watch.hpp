#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

namespace understudy::gateway {

// What the daemon and the gateway do with signals that people send (base/inherited_state.hpp lists them):
// some end the program in good order; those that mean nothing to it are said and change nothing, where by
// default they would end it without a word.
class SignalWatch {
 public:
  struct Handlers {
    std::function<void(int)> end;
    std::function<void(const std::string&)> without_meaning;  // a sentence; at most one in kSayAgain for each
  };
  SignalWatch(boost::asio::io_context& loop, std::string program, Handlers handlers);

 private:
  void wait_for_end();
  void wait_for_others();
  void say_once(int number);

  std::string program_;
  Handlers handlers_;
  boost::asio::signal_set end_;
  boost::asio::signal_set others_;
  std::map<int, std::chrono::steady_clock::time_point> said_;
};

}  // namespace understudy::gateway
