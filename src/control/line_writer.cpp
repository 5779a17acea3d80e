#include "control/line_writer.hpp"

#include "base/signals_blocked.hpp"
#include "control/event_history.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace understudy::control {

namespace fs = std::filesystem;

namespace {

constexpr auto kEndLimit = std::chrono::seconds(2);

bool is_same_file(int fd, const fs::path& file) {
  struct stat one {};
  struct stat other {};
  return ::fstat(fd, &one) == 0 && ::stat(file.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

}  // namespace

struct LineWriter::Shared {
  Shared(const fs::path& events_file, const fs::path& log_file)
      : events(events_file, kMostEventBytes, kept_of) {
    if (is_same_file(STDOUT_FILENO, log_file)) log.emplace(log_file, kMostLogBytes);
  }
  void run();
  void write(const std::string& line);
  void write_event(const std::string& line);
  void write_log(const std::string& line);

  std::mutex mutex;
  std::condition_variable changed;
  std::condition_variable emptied;
  std::deque<std::string> waiting;
  std::size_t dropped = 0;
  bool busy = false;
  bool ends = false;

  // Of the thread alone.
  BoundedFile events;
  std::optional<BoundedFile> log;
  bool refuses = false;  // the last event could not be written
};

LineWriter::LineWriter(const fs::path& events, const fs::path& log)
    : shared_(std::make_shared<Shared>(events, log)) {
  const SignalsBlocked blocked;
  std::thread([shared = shared_] { shared->run(); }).detach();
}

LineWriter::~LineWriter() {
  flush(kEndLimit);
  const std::lock_guard lock(shared_->mutex);
  shared_->ends = true;
  shared_->changed.notify_one();
}

void LineWriter::add(const std::string& line) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->waiting.size() >= kMostWaiting) {
    ++shared_->dropped;
    return;
  }
  shared_->waiting.push_back(line);
  shared_->changed.notify_one();
}

void LineWriter::flush(Duration limit) const {
  std::unique_lock lock(shared_->mutex);
  shared_->emptied.wait_for(lock, limit, [this] { return shared_->waiting.empty() && !shared_->busy; });
}

void LineWriter::Shared::run() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return !waiting.empty() || ends; });
    if (waiting.empty()) return;
    const auto lines = std::exchange(waiting, {});
    const std::size_t lost = std::exchange(dropped, 0);
    busy = true;
    lock.unlock();
    for (const std::string& line : lines) write(line);
    if (lost != 0)
      write("understudyd: " + std::to_string(lost) + " lines are missing here: the disk was too slow");
    lock.lock();
    busy = false;
    if (waiting.empty()) emptied.notify_all();
  }
}

void LineWriter::Shared::write(const std::string& line) {
  if (line.starts_with("{")) write_event(line);
  write_log(line);
}

void LineWriter::Shared::write_event(const std::string& line) {
  const std::string why = events.write(line);
  if (!why.empty() && !refuses)
    write_log("understudyd: cannot write the event log " + events.path().string() + ": " + why +
              "; it goes on in memory only, until that works again");
  refuses = !why.empty();
}

void LineWriter::Shared::write_log(const std::string& line) {
  if (!log) {
    std::fputs((line + "\n").c_str(), stdout);
    std::fflush(stdout);
    return;
  }
  (void)log->write(line);
  const int now = log->descriptor();
  if (now < 0 || is_same_file(STDOUT_FILENO, log->path())) return;
  ::dup2(now, STDOUT_FILENO);
  ::dup2(now, STDERR_FILENO);
}

}  // namespace understudy::control
