#include "agent/releaser.hpp"

#include "base/counted.hpp"
#include "base/kernel_files.hpp"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace understudy::agent {

namespace {

constexpr long kRetryNanos = 20'000'000;  // a page that is on its way somewhere is free again soon after

// In the child: offline every block, again and again, until all are or the parent ends us.
[[noreturn]] void take_offline(const MemoryBlocks& blocks, const std::vector<protocol::Area>& areas,
                               const std::string& drop_caches, int errors) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  bool told = false;
  for (bool left = true; left;) {
    left = false;
    // Page cache in these blocks would be moved page by page; dropping it is a hundred times faster.
    (void)write_file(drop_caches, "1");
    for (const auto& area : areas) {
      const auto covering = blocks.covering(area.address, area.bytes);
      if (!covering) continue;
      for (const auto block : *covering) {
        if (blocks.state(block) != MemoryBlocks::State::online) continue;
        const auto done = blocks.offline(block);
        if (done) continue;
        left = true;
        if (!told) (void)!::write(errors, done.error().message.data(), done.error().message.size());
        told = true;
      }
    }
    const timespec pause{0, kRetryNanos};
    if (left) ::nanosleep(&pause, nullptr);
  }
  ::_exit(0);
}

}  // namespace

Releaser::Releaser(Loop& loop, Children& children, const MemoryBlocks& blocks, std::string drop_caches,
                   Send send, DescribeUse describe_use)
    : loop_(loop),
      children_(children),
      blocks_(blocks),
      drop_caches_(std::move(drop_caches)),
      send_(std::move(send)),
      describe_use_(std::move(describe_use)) {}

void Releaser::release(const protocol::to_agent::Release& request) {
  for (const auto& other : pending_) {
    if (other.request == request) return;  // a repetition: the answer is on its way
  }
  if (pending_.size() >= kMostPending) {
    send_(protocol::from_agent::Released{
        request.app, request.epoch, {}, "too many requests to release memory at once"});
    return;
  }
  pending_.push_back({request, -1, {}, false, {}});
  begin(std::prev(pending_.end()));
}

void Releaser::begin(std::list<Pending>::iterator pending) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0) return finish(pending);
  pending->errors = UniqueFd(pipe[0]);
  const UniqueFd child_end(pipe[1]);
  pending->pid = ::fork();
  if (pending->pid == 0) take_offline(blocks_, pending->request.areas, drop_caches_, child_end.get());
  if (pending->pid < 0) return finish(pending);
  children_.expect(pending->pid, [this, pending](int) { finish(pending); });
  const Duration limit = std::chrono::milliseconds(pending->request.limit_ms);
  const Duration kept = std::min(limit / kLargestPartForEnding, kEndingBlockedWrite + kPuttingBack);
  pending->limit = loop_.after(limit - kept, [this, pending] { cut(pending); });
}

void Releaser::cut(std::list<Pending>::iterator pending) {
  pending->cut_short = true;
  ::kill(pending->pid, SIGKILL);
  // A child that not even this ends keeps its blocks; the answer cannot wait for it.
  const Duration limit = std::chrono::milliseconds(pending->request.limit_ms);
  pending->limit = loop_.after(std::min(limit / kLargestPartForEnding, kEndingBlockedWrite), [this, pending] {
    children_.forget(pending->pid);
    finish(pending);
  });
}

bool Releaser::wholly_offline(const protocol::Area& area) const {
  const auto covering = blocks_.covering(area.address, area.bytes);
  if (!covering) return false;
  for (const auto block : *covering) {
    const auto state = blocks_.state(block);
    if (state == MemoryBlocks::State::online || state == MemoryBlocks::State::going_offline) return false;
  }
  return true;
}

void Releaser::put_back(const protocol::Area& area) const {
  const auto covering = blocks_.covering(area.address, area.bytes);
  if (!covering) return;
  for (const auto block : *covering) {
    if (blocks_.state(block) == MemoryBlocks::State::offline) (void)blocks_.online(block);
  }
}

// "3 of 8 areas (384 MiB of 1 GiB) are still in use by the guest's OS".
std::string Releaser::why_not_all(const protocol::to_agent::Release& request,
                                  const std::vector<protocol::AreaNumber>& released) const {
  Bytes asked = 0;
  Bytes left = 0;
  for (const auto& area : request.areas) {
    asked += area.bytes;
    if (std::find(released.begin(), released.end(), area.id) == released.end()) left += area.bytes;
  }
  const std::size_t kept = request.areas.size() - released.size();
  return std::to_string(kept) + " of " + counted(request.areas.size(), "area") + " (" + format_size(left) +
         " of " + format_size(asked) + ")" + (kept == 1 ? " is" : " are") + " still in use by the guest's OS";
}

void Releaser::finish(std::list<Pending>::iterator pending) {
  const auto request = std::move(pending->request);
  char error[256];
  const ssize_t got = pending->errors ? ::read(pending->errors.get(), error, sizeof error) : -1;
  const bool cut_short = pending->cut_short;
  const bool forked = pending->pid > 0;
  pending_.erase(pending);

  protocol::from_agent::Released answer{request.app, request.epoch, {}, ""};
  for (const auto& area : request.areas) {
    if (wholly_offline(area)) {
      answer.areas.push_back(area.id);
    } else {
      put_back(area);
    }
  }
  if (answer.areas.size() < request.areas.size()) {
    answer.why_not_all = why_not_all(request, answer.areas);
    if (!forked)
      answer.why_not_all = "the guest could not start the release (out of processes or descriptors)";
    if (cut_short)
      answer.why_not_all += " after " + format_duration(std::chrono::milliseconds(request.limit_ms));
    if (got > 0) answer.why_not_all += " (" + std::string(error, static_cast<std::size_t>(got)) + ")";
    const std::string use = describe_use_ ? describe_use_() : "";
    if (!use.empty()) answer.why_not_all += "; in the guest: " + use;
  }
  send_(std::move(answer));
}

}  // namespace understudy::agent
