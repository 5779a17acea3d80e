// When standbys read in what applications are started from.
#include "core/state.hpp"
#include "stage.hpp"

namespace understudy::core {
namespace {

std::vector<std::string> prepared(const Stage& stage) {
  std::vector<std::string> names;
  for (const action::AskPrepare& ask : stage.asked<action::AskPrepare>())
    names.push_back(stage.core.state().name(ask.app) + " on " + stage.core.state().name(ask.run.guest));
  return names;
}

// Found by measuring: the agent drops the page cache to let go of memory, and the next start there took twice
// as long, after every rehearsal, too.
TEST(Preparing, IsRepeatedWhereMemoryWasLetGoOfWhenNobodyIsOnHisWay) {
  Stage stage(plain_setup(2, 1));
  stage.up();
  const std::size_t before = prepared(stage).size();
  stage.hold<action::AskStart>();
  stage.give(event::Switchover{stage.app("db"), {}});
  stage.settle();
  ASSERT_EQ(stage.where("db"), "starting on beta");
  EXPECT_EQ(prepared(stage).size(), before) << "it would take the processor from the start";
  stage.hold_nothing();
  stage.settle();
  ASSERT_EQ(stage.where("db"), "serving on beta");
  const auto after = prepared(stage);
  ASSERT_EQ(after.size(), before + 1);
  EXPECT_EQ(after.back(), "db on alpha");
}

TEST(Preparing, ALateWordOfReleasedMemoryMakesNobodyDoAnything) {
  Stage stage(plain_setup(2, 1));
  stage.up();
  const std::size_t before = prepared(stage).size();
  stage.give(event::AreasReleased{stage.run("beta"), stage.app("db"), 1, {AreaId{0}}, ""});
  stage.settle();
  EXPECT_EQ(prepared(stage).size(), before);
}

}  // namespace
}  // namespace understudy::core
