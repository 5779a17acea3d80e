#include "config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

class EnvironmentFileTest : public ::testing::Test {
 protected:
  EnvironmentFileTest() {
    std::string name = (fs::temp_directory_path() / "environment-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    std::ofstream(directory_ / "kernel") << "\x7f"
                                         << "ELF";
    std::ofstream(directory_ / "initramfs") << "070701";
    std::ofstream(directory_ / "disk") << "hsqs";
  }
  ~EnvironmentFileTest() override {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  void secrets(const std::string& text, mode_t mode = 0600) const {
    std::ofstream(directory_ / "redis.env", std::ios::binary) << text;
    ASSERT_EQ(::chmod((directory_ / "redis.env").c_str(), mode), 0);
  }
  [[nodiscard]] tl::expected<Config, Errors> loaded(const std::string& more, mode_t mode = 0600) const {
    const fs::path file = directory_ / "understudy.toml";
    std::ofstream(file) << R"([pool]
memory = "2 GiB"
[image]
kernel = "kernel"
initramfs = "initramfs"
disk = "disk"
[[guest]]
name = "alpha"
[[application]]
name = "redis"
guests = ["alpha"]
memory = "512 MiB"
start = ["/usr/bin/redis-server"]
health = { kind = "process" }
)" << more;
    ::chmod(file.c_str(), mode);
    return load(file);
  }
  [[nodiscard]] std::string refused() const {
    const auto config = loaded("environment_file = \"redis.env\"\n");
    if (config) return "it was taken";
    EXPECT_EQ(config.error().size(), 1U);
    return config.error().front();
  }

  fs::path directory_;
};

TEST_F(EnvironmentFileTest, WhatStandsInItIsAddedAsItStands) {
  secrets("# of the database\n\nPASSWORD=a=b \"c\" # d\nEMPTY=\nLAST=1");
  const auto config = loaded("environment_file = \"redis.env\"\nenvironment = { MODE = \"quiet\" }\n");
  ASSERT_TRUE(config) << config.error().front();
  EXPECT_THAT(config->applications[0].environment,
              ElementsAre(Pair("EMPTY", ""), Pair("LAST", "1"), Pair("MODE", "quiet"),
                          Pair("PASSWORD", "a=b \"c\" # d")));
}

TEST_F(EnvironmentFileTest, OneThatOthersCanReadIsRefused) {
  for (const mode_t mode : {0640U, 0604U, 0660U, 0644U}) {
    secrets("PASSWORD=hush\n", mode);
    EXPECT_THAT(refused(), HasSubstr("is open to others"));
    EXPECT_THAT(refused(), HasSubstr("understudy.toml:15:"));
  }
}

TEST_F(EnvironmentFileTest, OneOfSomebodyElseIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a file away";
  secrets("PASSWORD=hush\n");
  ASSERT_EQ(::chown((directory_ / "redis.env").c_str(), 65533, 65533), 0);
  EXPECT_THAT(refused(), HasSubstr("belongs to somebody else (uid 65533)"));
}

TEST_F(EnvironmentFileTest, WhatIsWrongIsNamedByItsLineAndNotShown) {
  const std::pair<std::string, std::string> cases[] = {
      {"A=1\nhush\n", "line 2 is not NAME=VALUE"},
      {"1A=hush\n", "line 1 is not NAME=VALUE"},
      {"=hush\n", "line 1 is not NAME=VALUE"},
      {"A=hush\r\n", "line 1 has a control character"},
      {"A=1\nA=hush\n", "line 2 sets A, which is set already"},
      {"A=hush" + std::string(5000, 'x'), "line 1 has a value of more than 4096 bytes"},
      {std::string("A=\0hush", 7), "line 1 has a control character"},
  };
  for (const auto& [text, said] : cases) {
    secrets(text);
    EXPECT_THAT(refused(), HasSubstr(said));
    EXPECT_THAT(refused(), testing::Not(HasSubstr("hush")));
  }
  std::string many;
  for (int i = 0; i < 300; ++i) many += "A" + std::to_string(i) + "=1\n";
  secrets(many);
  EXPECT_THAT(refused(), HasSubstr("line 257 is one too many"));
  secrets(std::string(300 << 10, '#'));
  EXPECT_THAT(refused(), HasSubstr("is larger than 262144 bytes"));
}

TEST_F(EnvironmentFileTest, WhatIsNoFileHoldsUpNobody) {
  EXPECT_THAT(refused(), HasSubstr("No such file"));
  ASSERT_EQ(::mkfifo((directory_ / "redis.env").c_str(), 0600), 0);
  EXPECT_THAT(refused(), HasSubstr("is no regular file"));
  fs::remove(directory_ / "redis.env");
  fs::create_directory(directory_ / "redis.env");
  EXPECT_THAT(refused(), HasSubstr("is no regular file"));
}

TEST_F(EnvironmentFileTest, AConfigurationThatOthersCanReadIsRemarkedOnWhenItHasSome) {
  const std::string some = "environment = { PASSWORD = \"hush\" }\n";
  EXPECT_THAT(remarks(*loaded(some, 0600)), IsEmpty());
  EXPECT_THAT(remarks(*loaded(some, 0644)), ElementsAre(HasSubstr("others can read")));
  EXPECT_THAT(remarks(*loaded("", 0644)), IsEmpty());
  secrets("PASSWORD=hush\n");
  EXPECT_THAT(remarks(*loaded("environment_file = \"redis.env\"\n", 0644)), IsEmpty());
}

}  // namespace
}  // namespace understudy::config
