#include "agent/preparer.hpp"

#include "agent/os.hpp"
#include "agent/spawn.hpp"

#include <sys/wait.h>

namespace understudy::agent {

namespace {

constexpr int kNice = 19;

}  // namespace

Preparer::~Preparer() {
  for (auto& [name, pending] : pending_) {
    host_.children.forget(pending.pid);
    pending.container->kill_all();
  }
}

void Preparer::prepare(const protocol::Application& definition) {
  if (pending_.contains(definition.name)) return;  // the answer is on its way
  Pending& pending = pending_[definition.name];
  pending.app = definition.app;
  pending.began = Loop::now();
  if (definition.prepare.empty()) {
    answer(pending, "");
  } else if (auto begun = begin(definition, pending); !begun) {
    answer(pending, begun.error().message);
  } else {
    return;
  }
  pending_.erase(definition.name);
}

Result<void> Preparer::begin(const protocol::Application& definition, Pending& pending) {
  auto user = find_user(definition.user, read_file(host_.passwd_file).value_or(""));
  if (!user) return tl::unexpected(user.error());
  auto container = host_.make_container("prepare-" + definition.name);
  if (!container) return tl::unexpected(container.error());
  pending.container = std::move(*container);
  SpawnRequest request;
  request.argv = definition.prepare;
  request.environment = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + user->home};
  request.user = *user;
  request.nice = kNice;
  request.container = pending.container.get();
  if (host_.own_files) request.own_files = host_.own_files(0);
  if (host_.processes) request.processes = host_.processes();
  if (host_.own_domain) request.own_domain = host_.own_domain(definition, *user);
  if (host_.bound) host_.bound(*pending.container, definition, Part::helper);
  auto spawned = spawn(request);
  if (!spawned) return tl::unexpected(spawned.error());
  pending.pid = spawned->pid;
  pending.output = std::move(spawned->output);
  pending.exec_error = std::move(spawned->exec_error);
  const std::string name = definition.name;
  host_.children.expect(pending.pid, [this, name](int wait_status) { ended(name, wait_status); });
  pending.watch = host_.loop.watch(pending.output.get(), EPOLLIN, [&pending](std::uint32_t) {
    if (!pending.tail.read_from(pending.output.get())) pending.watch.reset();
  });
  pending.limit = host_.loop.after(kLimit, [&pending] {
    pending.cut_short = true;
    pending.container->kill_all();
  });
  return {};
}

void Preparer::ended(const std::string& name, int wait_status) {
  Pending& pending = pending_.at(name);
  pending.container->kill_all();
  (void)pending.tail.read_from(pending.output.get());
  const bool well = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
  std::string why_not;
  if (!well)
    why_not = describe_end(wait_status, read_exec_error(pending.exec_error.get()), pending.tail.text());
  if (pending.cut_short) why_not = "it did not end within " + format_duration(kLimit);
  answer(pending, std::move(why_not));
  pending_.erase(name);
}

void Preparer::answer(const Pending& pending, std::string why_not) {
  const auto took_ms = static_cast<std::uint64_t>(to_ms(Loop::now() - pending.began));
  host_.send(protocol::from_agent::Prepared{pending.app, took_ms, std::move(why_not)});
}

}  // namespace understudy::agent
