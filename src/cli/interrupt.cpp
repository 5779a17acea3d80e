#include "cli/interrupt.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

namespace understudy::cli {

namespace {

int ends[2] = {-1, -1};
volatile std::sig_atomic_t signals = 0;
constexpr int kSignals[] = {SIGINT, SIGTERM};

void on_signal(int) {
  signals = signals + 1;
  const char byte = 0;
  (void)!::write(ends[1], &byte, 1);
}

}  // namespace

Interrupt::Interrupt() {
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigset_t ours;
  sigemptyset(&ours);
  for (const int signal : kSignals) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;  // nohup, or "&" of a shell: whoever started us wants it so
    ::sigaction(signal, &action, nullptr);
    sigaddset(&ours, signal);
  }
  ::pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
}

Interrupt::~Interrupt() {
  for (const int signal : kSignals) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler == on_signal) std::signal(signal, SIG_DFL);
  }
  for (int& end : ends) {
    if (end >= 0) ::close(end);
    end = -1;
  }
}

int Interrupt::fd() const {
  return ends[0];
}

bool Interrupt::came() const {
  return signals != 0;
}

void Interrupt::taken() {
  char byte = 0;
  while (::read(ends[0], &byte, 1) > 0) {
  }
}

}  // namespace understudy::cli
