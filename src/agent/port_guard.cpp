#include "agent/port_guard.hpp"

#include "base/kernel_files.hpp"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace understudy::agent {

namespace {

using Program = std::vector<bpf_insn>;

constexpr std::array<bpf_attach_type, 2> kBinds = {BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND};

bpf_insn instruction(int code, std::uint8_t to, std::uint8_t from, int offset, std::uint32_t number) {
  bpf_insn one{};
  one.code = static_cast<std::uint8_t>(code);
  one.dst_reg = to & 0xfU;
  one.src_reg = from & 0xfU;
  one.off = static_cast<std::int16_t>(offset);
  one.imm = static_cast<std::int32_t>(number);
  return one;
}

bpf_insn load(std::uint8_t to, std::size_t field) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_6, static_cast<int>(field), 0);
}

// 0: this kernel names no networks (before 5.14).
std::uint64_t own_network() {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) return 0;
  return cookie;
}

// The context is a bpf_sock_addr; 1 lets the bind() go on, 0 refuses it.
Program program_for(const std::vector<std::uint16_t>& ports) {
  Program program;
  std::vector<std::size_t> to_allow;  // jumps, to be led there when it is known where that is
  std::vector<std::size_t> to_refuse;
  const auto jump = [&](std::vector<std::size_t>& where, const bpf_insn& one) {
    where.push_back(program.size());
    program.push_back(one);
  };
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0));
  program.push_back(load(BPF_REG_2, offsetof(bpf_sock_addr, type)));
  jump(to_allow, instruction(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0, SOCK_STREAM));
  if (const std::uint64_t network = own_network(); network != 0) {
    program.push_back(instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_netns_cookie));
    program.push_back(
        instruction(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_2, 0, 0, static_cast<std::uint32_t>(network)));
    program.push_back(instruction(0, 0, 0, 0, static_cast<std::uint32_t>(network >> 32)));
    jump(to_allow, instruction(BPF_JMP | BPF_JNE | BPF_X, BPF_REG_0, BPF_REG_2, 0, 0));
  }
  program.push_back(load(BPF_REG_2, offsetof(bpf_sock_addr, user_port)));
  for (const std::uint16_t port : ports)
    jump(to_refuse, instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_2, 0, 0, htons(port)));
  for (const auto& [jumps, answer] : {std::pair(&to_allow, 1U), std::pair(&to_refuse, 0U)}) {
    for (const std::size_t at : *jumps) program[at].off = static_cast<std::int16_t>(program.size() - at - 1);
    program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, answer));
    program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  }
  return program;
}

long bpf(bpf_cmd command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

UniqueFd loaded(const Program& program, bpf_attach_type where) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  attributes.expected_attach_type = where;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("none");
  return UniqueFd(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
}

// Beside those that cgroups above or below have: each of them may refuse.
bool change(bpf_cmd command, int cgroup, int program, bpf_attach_type where) {
  bpf_attr attributes{};
  attributes.target_fd = static_cast<std::uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<std::uint32_t>(program);
  attributes.attach_type = where;
  if (command == BPF_PROG_ATTACH) attributes.attach_flags = BPF_F_ALLOW_MULTI;
  return bpf(command, attributes) == 0;
}

}  // namespace

// The new one is there before the old one goes.
Result<void> PortGuard::refuse(int cgroup, const std::vector<std::uint16_t>& ports) {
  const Program program = program_for(ports);
  for (std::size_t i = 0; i < kFamilies; ++i) {
    UniqueFd next;
    if (!ports.empty()) {
      next = loaded(program, kBinds.at(i));
      if (!next || !change(BPF_PROG_ATTACH, cgroup, next.get(), kBinds.at(i)))
        return failure(errno_text("a program at a cgroup's bind()"));
    }
    if (programs_.at(i)) (void)change(BPF_PROG_DETACH, cgroup, programs_.at(i).get(), kBinds.at(i));
    programs_.at(i) = std::move(next);
  }
  return {};
}

}  // namespace understudy::agent
