#include "agent/preparer.hpp"

#include "agent/spawn.hpp"
#include "base/kernel_files.hpp"

#include <sys/wait.h>

namespace understudy::agent {

namespace {

constexpr int kNice = 19;

}  // namespace

Preparer::~Preparer() {
  for (auto& [name, place] : places_) {
    place.container->on_change({});
    if (place.keeper) place.keeper->on_change({});
  }
  for (auto& [name, pending] : pending_) {
    host_.children.forget(pending.pid);
    end(name);
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
    end(definition.name);
    answer(pending, begun.error().message);
  } else {
    return;
  }
  pending_.erase(definition.name);
}

Result<void> Preparer::make_place(const protocol::Application& definition) {
  if (places_.contains(definition.name)) return {};
  Place place;
  auto container = host_.make_container("prepare-" + definition.name);
  if (!container) return tl::unexpected(container.error());
  place.container = std::move(*container);
  place.container->on_change([this] { look(); });
  if (host_.namespaces && host_.namespaces(definition, 0).any()) {
    auto keepers = host_.make_container("preparing-" + definition.name);
    if (!keepers) return tl::unexpected(keepers.error());
    place.keeper = std::make_unique<Keeper>(std::move(*keepers));
    place.keeper->on_change([this] { look(); });
  }
  places_.emplace(definition.name, std::move(place));
  return {};
}

Result<void> Preparer::begin(const protocol::Application& definition, Pending& pending) {
  auto user = find_user(definition.user, read_file(host_.passwd_file).value_or(""));
  if (!user) return tl::unexpected(user.error());
  if (auto made = make_place(definition); !made) return made;
  const Place& place = places_.at(definition.name);
  Namespaces namespaces;
  if (place.keeper) {
    namespaces = host_.namespaces(definition, 0);
    if (auto kept = place.keeper->keep(namespaces, *user); !kept) return kept;
  }
  SpawnRequest request;
  request.argv = definition.prepare;
  request.environment = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + user->home};
  request.user = *user;
  request.nice = kNice;
  request.container = place.container.get();
  request.keeper = place.keeper.get();
  request.own_files = namespaces.files;
  if (host_.processes) request.processes = host_.processes();
  if (host_.own_domain) request.own_domain = host_.own_domain(definition, *user);
  if (host_.bound) host_.bound(*place.container, definition, Part::helper);
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
  pending.limit = host_.loop.after(kLimit, [this, &pending, name] {
    pending.cut_short = true;
    end(name);
  });
  return {};
}

void Preparer::end(const std::string& name) {
  const auto place = places_.find(name);
  if (place == places_.end()) return;
  place->second.container->kill_all();
  if (place->second.keeper) place->second.keeper->end();
}

void Preparer::ended(const std::string& name, int wait_status) {
  Pending& pending = pending_.at(name);
  end(name);
  (void)pending.tail.read_from(pending.output.get());
  const bool well = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
  if (!well)
    pending.why_not =
        describe_end(wait_status, read_exec_error(pending.exec_error.get()), pending.tail.text());
  if (pending.cut_short) pending.why_not = "it did not end within " + format_duration(kLimit);
  pending.has_ended = true;
  look();
}

void Preparer::look() {
  std::erase_if(pending_, [this](const auto& entry) {
    const Place& place = places_.at(entry.first);
    const bool left = place.container->populated() || (place.keeper && place.keeper->there());
    if (!entry.second.has_ended || left) return false;
    answer(entry.second, entry.second.why_not);
    return true;
  });
}

void Preparer::answer(const Pending& pending, std::string why_not) {
  const auto took_ms = static_cast<std::uint64_t>(to_ms(Loop::now() - pending.began));
  host_.send(protocol::from_agent::Prepared{pending.app, took_ms, std::move(why_not)});
}

}  // namespace understudy::agent
