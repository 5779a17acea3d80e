#pragma once

#include "base/time.hpp"

#include <functional>
#include <memory>

namespace understudy {

// Does what may wait for a disk, one after the other, in a thread of its own: the loop goes on meanwhile.
class Background final {
 public:
  Background();
  // Waits a while for what is not done yet.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void run(std::function<void()> work);
  // Until all of it is done, or the limit has passed. Not for the loop.
  void flush(Duration limit) const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // the thread has a share: one that hangs in the kernel is left behind
};

}  // namespace understudy
