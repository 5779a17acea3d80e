#include "base/unique_fd.hpp"
#include "config/config.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <string>

namespace understudy::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A configuration that asks next to nothing of the host, with one application at `listen`.
Config modest(const std::string& listen, const std::string& pool = "") {
  auto config =
      parse("[pool]\nmemory = \"320 MiB\"\n" + pool +
                "[image]\nkernel = \"k\"\ninitramfs = \"i\"\ndisk = \"d\"\n[[guest]]\nname = \"a\"\n"
                "base_memory = \"96 MiB\"\n[[application]]\nname = \"app\"\nguests = [\"a\"]\n"
                "memory = \"128 MiB\"\nstart = [\"/app\"]\naddress = { listen = \"" +
                listen + "\", port = 1 }\n",
            "h.toml");
  if (!config) ADD_FAILURE() << config.error()[0];
  return config ? *config : Config{};
}

// A port that somebody listens on.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_.get(), 1), 0);
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void close() { socket_.reset(); }

 private:
  UniqueFd socket_;
  std::uint16_t port_ = 0;
};

TEST(HostCheck, AnAddressInUseIsNamed) {
  Listener listener;
  const Config config = modest(listener.address());
  const std::string said =
      "h.toml:15:22: application \"app\": " + listener.address() + " is in use; see by whom (ss -ltnp";
  EXPECT_THAT(check_host(config), Contains(HasSubstr(said)));
  EXPECT_THAT(check_host(config, {.addresses = false}), Not(Contains(HasSubstr("is in use"))));
  listener.close();
  EXPECT_THAT(check_host(config), Not(Contains(HasSubstr("is in use"))));
}

TEST(HostCheck, AnAddressOfAnotherHostIsNamed) {
  EXPECT_THAT(check_host(modest("192.0.2.1:1999")),
              Contains(HasSubstr("192.0.2.1:1999 is no address of this host; see `ip address`")));
}

TEST(HostCheck, MissingQemuIsNamedWithItsPackage) {
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nowhere:/dev", 1);
  const Errors said = check_host(modest("127.0.0.1:1"), {.addresses = false, .memory = false});
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_THAT(said, ElementsAre("h.toml:1:1: qemu-system-x86_64 is not in PATH; install it with `apt install "
                                "qemu-system-x86`"));
}

TEST(HostCheck, MoreMemoryThanTheHostHasIsRefused) {
  Config config = modest("127.0.0.1:1");
  config.pool.memory_bytes = 2ULL << 40;  // fewer than the most areas
  EXPECT_THAT(check_host(config, {.addresses = false}),
              Contains(HasSubstr("h.toml:2:10: 2 TiB are needed, but this host has ")));
  EXPECT_THAT(check_host(config, {.addresses = false, .memory = false}),
              Not(Contains(HasSubstr("are needed"))));
}

TEST(HostCheck, TheDirectoryMustBeThereAndOfItsKind) {
  const HostCheck only_directory{.addresses = false, .memory = false};
  EXPECT_THAT(
      check_host(modest("127.0.0.1:1", "directory = \"/nowhere\"\n"), only_directory),
      Contains(
          "h.toml:3:13: the directory /nowhere cannot be used (No such file or directory); create it, or "
          "leave the key out"));
  EXPECT_THAT(check_host(modest("127.0.0.1:1", "directory = \"/proc\"\n"), only_directory),
              Contains(HasSubstr("the directory /proc is not on tmpfs")));
  EXPECT_THAT(
      check_host(modest("127.0.0.1:1", "backing = \"hugetlbfs\"\ndirectory = \"/proc\"\n"), only_directory),
      Contains(HasSubstr("mount it: mount -t hugetlbfs none /proc")));
  EXPECT_THAT(check_host(modest("127.0.0.1:1", "directory = \"/dev/shm\"\n"), only_directory),
              Not(Contains(HasSubstr("the directory"))));
}

}  // namespace
}  // namespace understudy::config
