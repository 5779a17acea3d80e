#include "agent/output_tail.hpp"

#include <unistd.h>

#include <cerrno>

namespace understudy::agent {

namespace {

constexpr int kReadsAtOnce = 16;

}  // namespace

void OutputTail::add(std::string_view bytes) {
  if (bytes.size() > most_bytes_) {
    bytes.remove_prefix(bytes.size() - most_bytes_);
    kept_.clear();
    cut_ = true;
  }
  kept_ += bytes;
  if (kept_.size() > 2 * most_bytes_) {
    kept_.erase(0, kept_.size() - most_bytes_);
    cut_ = true;
  }
}

bool OutputTail::read_from(int fd, OutputTail* also) {
  char buffer[4096];
  for (int i = 0; i < kReadsAtOnce; ++i) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    add({buffer, static_cast<std::size_t>(got)});
    if (also != nullptr) also->add({buffer, static_cast<std::size_t>(got)});
  }
  return true;
}

std::string_view OutputTail::text() const {
  std::string_view text = kept_;
  bool cut = cut_;
  if (text.size() > most_bytes_) {
    text.remove_prefix(text.size() - most_bytes_);
    cut = true;
  }
  const std::size_t end = text.find('\n');
  if (cut && end != std::string_view::npos && end + 1 < text.size()) text.remove_prefix(end + 1);
  return text;
}

}  // namespace understudy::agent
