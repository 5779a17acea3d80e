// Every limit of limits.hpp on what a file may hold, at its bound and one beyond it. The memory figures have
// their tests in config_test.cpp.
#include "config/limits.hpp"

#include "config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace understudy::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Errors errors_in(const std::string& text) {
  const auto config = parse(text, "u.toml");
  return config ? Errors{} : config.error();
}

std::string repeated(const std::string& text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

struct Text {
  std::string pool = "memory = \"64 GiB\"\n";
  std::string guest = "name = \"alpha\"\n";
  std::string guests;  // more of them
  std::string application = "memory = \"512 MiB\"\n";
  std::string start = "start = [\"/r\"]\n";
  std::string rest;

  [[nodiscard]] std::string whole() const {
    return "[pool]\n" + pool + "[image]\nkernel = \"k\"\ninitramfs = \"i\"\ndisk = \"d\"\n[[guest]]\n" +
           guest + guests + "[[application]]\nname = \"redis\"\nguests = [\"alpha\"]\n" + start +
           application + rest;
  }
};

Errors with_pool(const std::string& lines) {
  Text text;
  text.pool = lines;
  return errors_in(text.whole());
}
Errors with_guest(const std::string& lines) {
  Text text;
  text.guest += lines;
  return errors_in(text.whole());
}
Errors with_application(const std::string& lines) {
  Text text;
  text.application += lines;
  return errors_in(text.whole());
}
Errors with_start(const std::string& arguments) {
  Text text;
  text.start = "start = [\"/r\"" + arguments + "]\n";
  return errors_in(text.whole());
}
Errors with_rest(const std::string& lines) {
  Text text;
  text.rest = lines;
  return errors_in(text.whole());
}

std::string number(std::uint64_t value) {
  return std::to_string(value);
}

TEST(ConfigLimits, OfTheFile) {
  const std::string good = Text().whole();
  const std::string comment = "#" + std::string(kLargestFileBytes - good.size() - 1, 'x');
  EXPECT_THAT(errors_in(good + comment), IsEmpty());
  EXPECT_THAT(errors_in(good + comment + "x"), ElementsAre(HasSubstr("the file has 1048577 bytes")));
}

TEST(ConfigLimits, OfErrors) {
  EXPECT_EQ(errors_in(repeated("a = 1 MiB\n", kMostSyntaxErrors)).size(), kMostSyntaxErrors);
  EXPECT_EQ(errors_in(repeated("a = 1 MiB\n", kMostSyntaxErrors + 1)).size(), kMostSyntaxErrors);
  std::string unknown;
  for (std::size_t i = 0; i < kMostErrors; ++i) unknown += "k" + number(i) + " = 1\n";
  EXPECT_EQ(with_guest(unknown).size(), kMostErrors);
  EXPECT_EQ(with_guest(unknown + "one-more = 1\n").size(), kMostErrors);
}

TEST(ConfigLimits, OfOneErrorsText) {
  // A key of a broken statement, a size and a duration: quoted in part, whatever their length.
  const std::string longest(100'000, 'k');
  for (const std::string& text :
       {longest + " =\n", longest + " = abc\n", "[pool]\nmemory = \"1 " + longest + "\"\n",
        "[[guest]]\nboot_limit = \"1 " + longest + "\"\n"}) {
    for (const std::string& error : errors_in(text)) EXPECT_LE(error.size(), 600u) << error.substr(0, 200);
  }
  std::string path(kLargestFileBytes / 2, '\xc3');
  for (std::size_t i = 1; i < path.size(); i += 2) path[i] = '\xa4';
  for (const std::string& error : errors_in("[pool]\n\"" + path + "\" = 1\n"))
    EXPECT_LE(error.size(), kLongestError + 40) << error.substr(0, 200);
}

TEST(ConfigLimits, OfNames) {
  const auto named = [](std::size_t bytes) {
    Text text;
    text.guests = "[[guest]]\nname = \"" + std::string(bytes, 'a') + "\"\n";
    return errors_in(text.whole());
  };
  EXPECT_THAT(named(kLongestName), IsEmpty());
  EXPECT_THAT(named(kLongestName + 1), ElementsAre(HasSubstr("cannot be used")));
  const auto variable = [](std::size_t bytes) {
    return with_application("environment = { " + std::string(bytes, 'A') + " = \"x\" }\n");
  };
  EXPECT_THAT(variable(kLongestVariable), IsEmpty());
  EXPECT_THAT(variable(kLongestVariable + 1), ElementsAre(HasSubstr("environment variable")));
  const auto user = [](std::size_t bytes) {
    return with_application("user = \"" + std::string(bytes, 'u') + "\"\n");
  };
  EXPECT_THAT(user(kLongestUser), IsEmpty());
  EXPECT_THAT(user(kLongestUser + 1), ElementsAre(HasSubstr("user \"")));
}

TEST(ConfigLimits, OfGuestsApplicationsAndHooks) {
  const auto guests = [](std::size_t count) {
    Text text;
    for (std::size_t i = 1; i < count; ++i) text.guests += "[[guest]]\nname = \"g" + number(i) + "\"\n";
    return errors_in(text.whole());
  };
  EXPECT_THAT(guests(kMostGuests), IsEmpty());
  EXPECT_THAT(guests(kMostGuests + 1),
              Contains(HasSubstr("this is guest number 65, there may be at most 64")));
  const auto applications = [](std::size_t count) {
    std::string more;
    for (std::size_t i = 1; i < count; ++i) {
      more += "[[application]]\nname = \"a" + number(i) +
              "\"\nguests = [\"alpha\"]\nmemory = \"1 MiB\"\nstart = [\"/r\"]\n";
    }
    return with_rest(more);
  };
  EXPECT_THAT(applications(kMostApplications), IsEmpty());
  EXPECT_THAT(applications(kMostApplications + 1), Contains(HasSubstr("this is application number 65")));
  const std::string hook = "[[hook]]\non = [\"*\"]\ncommand = [\"/bin/true\"]\n";
  EXPECT_THAT(with_rest(repeated(hook, kMostHooks)), IsEmpty());
  EXPECT_THAT(with_rest(repeated(hook, kMostHooks + 1)), ElementsAre(HasSubstr("this is hook number 65")));
}

TEST(ConfigLimits, OfCommands) {
  EXPECT_THAT(with_start(repeated(", \"x\"", kMostArguments - 1)), IsEmpty());
  EXPECT_THAT(with_start(repeated(", \"x\"", kMostArguments)),
              ElementsAre(HasSubstr("start has 257 arguments, it may have at most 256")));
  EXPECT_THAT(with_start(", \"" + std::string(kLongestArgument, 'x') + "\""), IsEmpty());
  EXPECT_THAT(with_start(", \"" + std::string(kLongestArgument + 1, 'x') + "\""),
              ElementsAre(HasSubstr("has 4097 bytes, it may have at most 4096")));
  const auto variables = [](std::size_t count) {
    std::string list;
    for (std::size_t i = 0; i < count; ++i) list += (i == 0 ? "V" : ", V") + number(i) + " = \"x\"";
    return with_application("environment = { " + list + " }\n");
  };
  EXPECT_THAT(variables(kMostVariables), IsEmpty());
  EXPECT_THAT(variables(kMostVariables + 1), ElementsAre(HasSubstr("environment has 257 variables")));
  const auto value = [](std::size_t bytes) {
    return with_application("environment = { A = \"" + std::string(bytes, 'x') + "\" }\n");
  };
  EXPECT_THAT(value(kLongestArgument), IsEmpty());
  EXPECT_THAT(value(kLongestArgument + 1), ElementsAre(HasSubstr("it may have at most 4096")));
}

TEST(ConfigLimits, OfScratchDirectories) {
  const auto scratch = [](std::size_t count) {
    std::string list;
    for (std::size_t i = 0; i < count; ++i) list += (i == 0 ? "\"/d" : ", \"/d") + number(i) + "\"";
    return with_application("rehearsal_scratch = [" + list + "]\n");
  };
  EXPECT_THAT(scratch(kMostScratch), IsEmpty());
  EXPECT_THAT(scratch(kMostScratch + 1),
              ElementsAre(HasSubstr("rehearsal_scratch names 17 directories, it may name at most 16")));
}

TEST(ConfigLimits, OfSizes) {
  const auto pool_of = [](Bytes bytes) {
    Text text;
    text.pool = "memory = \"" + number(bytes >> 20) + " MiB\"\narea_size = \"1 GiB\"\n";
    text.guest += "base_memory = \"256 MiB\"\n";
    return errors_in(text.whole());
  };
  EXPECT_THAT(pool_of(kLargestSize), IsEmpty());
  EXPECT_THAT(pool_of(kLargestSize + 1_MiB), ElementsAre(HasSubstr("it may be at most 16 TiB")));
  // 224 MiB are the guest and its QEMU's.
  const auto pool_of_areas = [](std::uint64_t count) {
    return with_pool("memory = \"" + number(count * (kMemoryBlock >> 20) + 224) + " MiB\"\n");
  };
  EXPECT_THAT(pool_of_areas(kMostAreas), IsEmpty());
  EXPECT_THAT(pool_of_areas(kMostAreas + 1), ElementsAre(HasSubstr("the pool would have 16385 areas")));
  EXPECT_THAT(with_guest("base_memory = \"" + number(kSmallestBase >> 20) + " MiB\"\n"), IsEmpty());
  EXPECT_THAT(with_guest("base_memory = \"" + number((kSmallestBase >> 20) - 1) + " MiB\"\n"),
              ElementsAre(HasSubstr("it has to be at least 96 MiB")));
}

TEST(ConfigLimits, OfSlots) {
  EXPECT_THAT(with_guest("slots = " + number(kMostSlots) + "\n"), IsEmpty());
  EXPECT_THAT(with_guest("slots = " + number(kMostSlots + 1) + "\n"),
              ElementsAre(HasSubstr("from 1 to 256")));
  const auto application_of_areas = [](std::uint64_t count) {
    Text text;
    text.guest += "base_memory = \"192 MiB\"\n";
    text.application = "memory = \"" + number(count * (kMemoryBlock >> 20)) + " MiB\"\n";
    return errors_in(text.whole());
  };
  EXPECT_THAT(application_of_areas(kMostSlots), IsEmpty());
  EXPECT_THAT(application_of_areas(kMostSlots + 1),
              ElementsAre(HasSubstr("would need 257 areas in one guest")));
}

TEST(ConfigLimits, OfVcpus) {
  EXPECT_THAT(with_guest("vcpus = " + number(kMostVcpus) + "\n"), IsEmpty());
  EXPECT_THAT(with_guest("vcpus = " + number(kMostVcpus + 1) + "\n"), ElementsAre(HasSubstr("from 1 to 64")));
  EXPECT_THAT(with_application("vcpus = " + number(kMostApplicationVcpus) + "\n"), IsEmpty());
  EXPECT_THAT(with_application("vcpus = " + number(kMostApplicationVcpus + 1) + "\n"),
              ElementsAre(HasSubstr("from 0 to 16")));
  const auto both = [](std::uint64_t guest, std::uint64_t application) {
    Text text;
    text.guest += "vcpus = " + number(guest) + "\n";
    text.application += "vcpus = " + number(application) + "\n";
    return errors_in(text.whole());
  };
  EXPECT_THAT(both(kMostVcpus - 4, 4), IsEmpty());
  EXPECT_THAT(both(kMostVcpus - 4, 5), ElementsAre(HasSubstr("would have 65 vCPUs")));
}

TEST(ConfigLimits, OfDumps) {
  EXPECT_THAT(with_rest("[dumps]\nkeep = " + number(kMostDumps) + "\n"), IsEmpty());
  EXPECT_THAT(with_rest("[dumps]\nkeep = " + number(kMostDumps + 1) + "\n"),
              ElementsAre(HasSubstr("from 1 to 1000")));
  const auto budget = [](Bytes bytes) {
    Text text;
    text.guest += "crash_dump = true\n";
    text.rest = "[dumps]\nbudget = \"" + number(bytes) + " B\"\n";
    return errors_in(text.whole());
  };
  EXPECT_THAT(budget(128_MiB + kDumpOverhead), IsEmpty());
  EXPECT_THAT(budget(128_MiB + kDumpOverhead - 1),
              ElementsAre(HasSubstr("a dump of guest \"alpha\" takes 129 MiB")));
}

TEST(ConfigLimits, OfCountsAndPriorities) {
  for (const std::string& key : {std::string("health = { failures"), std::string("restart = { attempts"),
                                 std::string("flap = { takeovers")}) {
    EXPECT_THAT(with_application(key + " = " + number(kMostCounted) + " }\n"), IsEmpty());
    EXPECT_THAT(with_application(key + " = " + number(kMostCounted + 1) + " }\n"),
                ElementsAre(HasSubstr("to 1000")));
  }
  for (const char* sign : {"", "-"}) {
    EXPECT_THAT(with_application(std::string("priority = ") + sign + number(kMostPriority) + "\n"),
                IsEmpty());
    EXPECT_THAT(with_application(std::string("priority = ") + sign + number(kMostPriority + 1) + "\n"),
                ElementsAre(HasSubstr("from -1000 to 1000")));
  }
}

TEST(ConfigLimits, NothingOfTheFileDrivesATerminal) {
  for (const char* text :
       {"[pool]\n\"\xc2\x9b\x33\x31m\" = 1\n", "a = \x9b\n", "[pool]\nmemory = \"\xc2\x9b\"\n",
        "[pool]\nbacking = \"\\u009b\\u007f\\u001b\"\n"}) {
    for (const std::string& error : errors_in(text)) {
      EXPECT_EQ(error.find("\xc2\x9b"), std::string::npos) << error;
      EXPECT_EQ(error.find_first_of("\x9b\x7f\x1b"), std::string::npos) << error;
    }
  }
}

}  // namespace
}  // namespace understudy::config
