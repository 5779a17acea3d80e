#pragma once

namespace understudy::cli {

// Ctrl-C and SIGTERM, for commands that have something to put in order when they are told to end. A signal
// makes a descriptor readable, so that it is seen although nothing else happens; a second one ends the
// process as it would have without us.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  [[nodiscard]] int fd() const;
  [[nodiscard]] bool came() const;
  // It has been answered: the descriptor waits for the next one, which ends the process.
  void taken();
};

}  // namespace understudy::cli
