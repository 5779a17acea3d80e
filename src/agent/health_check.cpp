#include "agent/health_check.hpp"

#include "agent/isolation.hpp"
#include "agent/process_state.hpp"
#include "base/kernel_files.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>

namespace understudy::agent {

HealthCheck::HealthCheck(Loop& loop, Children& children, protocol::Health health, pid_t main_process,
                         SpawnRequest command)
    : loop_(loop),
      children_(children),
      health_(std::move(health)),
      main_process_(main_process),
      command_(std::move(command)) {
  command_.argv = health_.command;
}

HealthCheck::~HealthCheck() {
  if (check_process_ < 0) return;
  children_.forget(check_process_);
  command_.container->kill_all();
}

void HealthCheck::run(Done done) {
  done_ = std::move(done);
  if (auto lives = main_process_lives(); !lives) return finish(std::move(lives));
  switch (health_.kind) {
    case protocol::HealthKind::process: return finish({});
    case protocol::HealthKind::tcp: return check_tcp();
    case protocol::HealthKind::exec: return check_exec();
  }
}

// A process that is stopped answers nobody, though the kernel goes on accepting connections for it.
Result<void> HealthCheck::main_process_lives() const {
  const auto state = read_process_state(main_process_);
  if (!state || state->ended()) return failure("its main process is gone");
  if (state->stopped())
    return failure("its main process is stopped (state " + std::string(1, state->state) + ")");
  return {};
}

void HealthCheck::check_tcp() {
  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  if (command_.isolated) {
    auto inside = socket_inside(command_.keeper->pid(), AF_INET, kType);
    if (!inside) return finish(tl::unexpected(inside.error()));
    connection_ = std::move(*inside);
  } else {
    connection_ = UniqueFd(::socket(AF_INET, kType, 0));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(health_.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const std::string where = "connecting to 127.0.0.1:" + std::to_string(health_.port);
  if (::connect(connection_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return finish(somebody_else_answered(where));
  if (errno != EINPROGRESS) return finish(failure(errno_text(where)));
  limit_ = loop_.after(std::chrono::milliseconds(health_.limit_ms), [this, where] {
    finish(failure(where + ": no answer within " + std::to_string(health_.limit_ms) + " ms"));
  });
  watch_ = loop_.watch(connection_.get(), EPOLLOUT, [this, where](std::uint32_t) {
    int code = 0;
    socklen_t length = sizeof code;
    ::getsockopt(connection_.get(), SOL_SOCKET, SO_ERROR, &code, &length);
    finish(code == 0 ? somebody_else_answered(where) : failure(errno_text(where, code)));
  });
}

// The kernel lends out ports like the one that is asked for. Lent to this very connection while nobody
// listens there, it is connected to itself.
Result<void> HealthCheck::somebody_else_answered(const std::string& where) const {
  sockaddr_in ours{};
  sockaddr_in theirs{};
  socklen_t length = sizeof ours;
  if (::getsockname(connection_.get(), reinterpret_cast<sockaddr*>(&ours), &length) == 0 &&
      ::getpeername(connection_.get(), reinterpret_cast<sockaddr*>(&theirs), &length) == 0 &&
      ours.sin_port == theirs.sin_port && ours.sin_addr.s_addr == theirs.sin_addr.s_addr) {
    return failure(errno_text(where, ECONNREFUSED));
  }
  return {};
}

void HealthCheck::check_exec() {
  auto spawned = spawn(command_);
  if (!spawned) return finish(tl::unexpected(spawned.error()));
  check_process_ = spawned->pid;
  output_ = std::move(spawned->output);
  exec_error_ = std::move(spawned->exec_error);
  tail_ = OutputTail();
  children_.expect(check_process_, [this](int wait_status) { exec_ended(wait_status); });
  watch_ = loop_.watch(output_.get(), EPOLLIN, [this](std::uint32_t) {
    if (!tail_.read_from(output_.get())) watch_.reset();
  });
  limit_ = loop_.after(std::chrono::milliseconds(health_.limit_ms), [this] {
    children_.forget(check_process_);
    check_process_ = -1;
    command_.container->kill_all();
    finish(failure(command_text(health_.command) + " did not end within " + std::to_string(health_.limit_ms) +
                   " ms"));
  });
}

void HealthCheck::exec_ended(int wait_status) {
  check_process_ = -1;
  (void)tail_.read_from(output_.get());
  command_.container->kill_all();  // whatever it left behind
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return finish({});
  finish(failure(command_text(health_.command) + ": " +
                 describe_end(wait_status, read_exec_error(exec_error_.get()), tail_.text())));
}

void HealthCheck::finish(Result<void> result) {
  watch_.reset();
  limit_.reset();
  connection_.reset();
  output_.reset();
  exec_error_.reset();
  const Done done = std::move(done_);  // may destroy us
  done(std::move(result));
}

}  // namespace understudy::agent
