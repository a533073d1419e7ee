// topology_test.cc: situations and the plan that follows from each.
#include "proxy/instance/topology.h"

#include "tests/unit/unit_test.h"

namespace sidestream::instance {
namespace {

const std::string kOne(40, '1');
const std::string kTwo(40, '2');

NodeView node(const std::string& name, bool is_master, const std::string& replid, bool empty) {
  NodeView view;
  view.name = name;
  view.heard = view.reachable = true;
  view.is_master = is_master;
  view.empty = empty;
  view.replid = *replication::ReplId::parse(replid);
  return view;
}

Situation following_one(std::vector<NodeView> nodes) {
  Situation situation;
  situation.has_history = true;
  situation.history.replid = *replication::ReplId::parse(kOne);
  situation.nodes = std::move(nodes);
  return situation;
}

}  // namespace

TEST_CASE("the one node with data is the primary, empty ones follow") {
  Situation situation;
  situation.nodes = {node("a", true, kTwo, true), node("b", true, kOne, false)};
  Plan plan = make_plan(situation);
  CHECK_EQ(plan.primary, std::optional<size_t>(1));
  CHECK(plan.duties[0] == Duty::unknown);  // not before the relay has the history
  situation = following_one(situation.nodes);
  situation.primary = 1;
  plan = make_plan(situation);
  CHECK(plan.duties[0] == Duty::follow);
  CHECK(plan.trouble.empty());
}

TEST_CASE("all empty: the first one") {
  Situation situation;
  situation.nodes = {node("a", true, kTwo, true), node("b", true, kOne, true)};
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(0));
}

TEST_CASE("two primaries with data: nobody is touched, and it is said why") {
  Situation situation;
  situation.nodes = {node("a", true, kTwo, false), node("b", true, kOne, false)};
  const Plan plan = make_plan(situation);
  CHECK_FALSE(plan.primary.has_value());
  CHECK_NE(plan.trouble.find("a, b"), std::string::npos);
}

TEST_CASE("of two primaries with data the one that writes our history, unless the other went on with it") {
  Situation situation = following_one({node("a", true, kTwo, false), node("b", true, kOne, false)});
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(1));
  CHECK(make_plan(situation).duties[0] == Duty::foreign);
  situation.nodes[0].replid2 = situation.history.replid;
  CHECK_FALSE(make_plan(situation).primary.has_value());
  situation.nodes[0].replid2 = {};
  situation.nodes[1].empty = true;
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(0));
}

TEST_CASE("a silent node is waited for, then left out") {
  Situation situation;
  situation.nodes = {node("a", true, kOne, false), NodeView{}};
  situation.nodes[1].name = "b";
  CHECK_FALSE(make_plan(situation).primary.has_value());
  situation.heard_long_enough = true;
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(0));
}

TEST_CASE("empty primaries are not chosen while a node is silent: it may hold the data") {
  Situation situation;
  situation.nodes = {node("a", true, kOne, true), NodeView{}};
  situation.nodes[1].name = "b";
  situation.heard_long_enough = true;
  CHECK_FALSE(make_plan(situation).primary.has_value());
}

TEST_CASE("a node with data of another history is left alone") {
  Situation situation = following_one({node("a", true, kOne, false), node("b", true, kTwo, false)});
  situation.primary = 0;
  const Plan plan = make_plan(situation);
  CHECK(plan.duties[1] == Duty::foreign);
  CHECK_NE(plan.trouble.find("another history"), std::string::npos);
  situation.nodes[1].consented = true;
  CHECK(make_plan(situation).duties[1] == Duty::follow);
}

TEST_CASE("a promoted replica of ours takes over when the primary is gone") {
  Situation situation = following_one({node("a", true, kOne, false), node("b", true, kTwo, false)});
  situation.primary = 0;
  situation.nodes[0].reachable = false;
  situation.nodes[1].replid2 = *replication::ReplId::parse(kOne);
  situation.nodes[1].second_offset = 11;
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(1));
  situation.nodes[1].replid2 = replication::ReplId();
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(0));  // waits for the one it knows
}

TEST_CASE("a replica that came back from an old snapshot does not take over, though it looks promoted") {
  Situation situation = following_one({node("a", true, kOne, false), node("b", true, kTwo, true)});
  situation.primary = 0;
  situation.nodes[0].reachable = false;
  situation.nodes[1].replid2 = *replication::ReplId::parse(kOne);
  situation.nodes[1].second_offset = 1;
  situation.nodes[1].restarted = true;
  CHECK_EQ(make_plan(situation).primary, std::optional<size_t>(0));
  CHECK_NE(make_plan(situation).trouble.find("does not answer"), std::string::npos);
}

TEST_CASE("with an upstream every node of its history follows us") {
  Situation situation = following_one({node("a", false, kOne, false), node("b", true, kTwo, false)});
  situation.follows_upstream = true;
  const Plan plan = make_plan(situation);
  CHECK_FALSE(plan.primary.has_value());
  CHECK(plan.duties[0] == Duty::follow);
  CHECK(plan.duties[1] == Duty::foreign);
}

TEST_CASE("promoted without a write since is still of the history") {
  NodeView view = node("a", true, kTwo, false);
  replication::History history;
  history.replid = *replication::ReplId::parse(kOne);
  view.replid2 = history.replid;
  view.second_offset = 101;
  view.offset = ReplOffset{100};
  CHECK(is_of_history(view, history));
  view.offset = ReplOffset{114};
  CHECK_FALSE(is_of_history(view, history));
}

TEST_CASE("a primary that is held gives way to a node that went on with our history, and to nobody else") {
  Situation situation =
      following_one({node("p", true, kTwo, true), node("r", false, kOne, false), node("s", false, kOne, false)});
  situation.primary = 0;
  situation.held = true;
  Plan plan = make_plan(situation);
  CHECK_EQ(plan.primary, std::optional<size_t>(0));
  situation.nodes[1].is_master = true;
  situation.nodes[1].replid = *replication::ReplId::parse(std::string(40, '3'));
  situation.nodes[1].replid2 = situation.history.replid;
  plan = make_plan(situation);
  CHECK_EQ(plan.primary, std::optional<size_t>(1));
  CHECK(plan.duties[0] == Duty::follow);
}

TEST_CASE("all nodes are our replicas: the most advanced takes over, once every node was seen") {
  Situation situation = following_one({node("a", false, kOne, false), node("b", false, kOne, false)});
  situation.primary = 0;
  situation.offset = ReplOffset{100};
  for (NodeView& view : situation.nodes) view.follows_us = true;
  situation.nodes[0].offset = ReplOffset{100};
  situation.nodes[1].offset = ReplOffset{90};
  CHECK_EQ(make_plan(situation).promote, std::optional<size_t>(0));
  CHECK_FALSE(make_plan(situation).primary.has_value());
  situation.nodes[0].offset = ReplOffset{80};
  CHECK_FALSE(make_plan(situation).promote.has_value());  // we have more: it will be level soon
  situation.nodes[0].offset = ReplOffset{100};
  situation.nodes[1].reachable = false;
  CHECK_FALSE(make_plan(situation).promote.has_value());
  situation.nodes[1].reachable = true;
  situation.nodes[1].follows_us = false;
  CHECK_FALSE(make_plan(situation).promote.has_value());
  situation.nodes[1].follows_us = true;
  situation.has_history = false;  // after a restart
  situation.primary.reset();
  situation.nodes[1].offset = ReplOffset{200};
  CHECK_EQ(make_plan(situation).promote, std::optional<size_t>(1));
  situation.nodes[1].replid = *replication::ReplId::parse(kTwo);
  CHECK_FALSE(make_plan(situation).promote.has_value());
  situation.nodes[1].replid2 = situation.nodes[0].replid;  // it was promoted behind what the other one has
  situation.nodes[1].second_offset = 101;
  CHECK_EQ(make_plan(situation).promote, std::optional<size_t>(1));
  situation.nodes[1].second_offset = 100;
  CHECK_FALSE(make_plan(situation).promote.has_value());  // the other one has a byte more
}

TEST_CASE("all nodes are our replicas: one that went on from our history has ours too, one of another is not asked") {
  Situation situation = following_one({node("a", false, kOne, false), node("b", false, kTwo, false)});
  situation.offset = ReplOffset{100};
  for (NodeView& view : situation.nodes) view.follows_us = true;
  situation.nodes[0].offset = ReplOffset{90};
  situation.nodes[1].offset = ReplOffset{5000};
  CHECK_FALSE(make_plan(situation).promote.has_value());  // we have more than a, and b is a stranger
  situation.nodes[0].offset = ReplOffset{100};
  CHECK_EQ(make_plan(situation).promote, std::optional<size_t>(0));
  std::swap(situation.nodes[0], situation.nodes[1]);
  CHECK_EQ(make_plan(situation).promote, std::optional<size_t>(1));
  // What we know ends where the disk stopped before a restart: the stranger is our history's future.
  situation.nodes[0].replid2 = situation.history.replid;
  situation.nodes[0].second_offset = 200;
  CHECK_EQ(make_plan(situation).promote, std::optional<size_t>(0));
}

TEST_CASE("a node that was promoted beside the primary is looked at; one that only restarted is not") {
  Situation situation = following_one({node("a", true, kOne, false), node("b", true, kTwo, false)});
  situation.primary = 0;
  situation.nodes[1].replid2 = *replication::ReplId::parse(kOne);
  situation.nodes[1].second_offset = 1;
  Plan plan = make_plan(situation);
  CHECK_EQ(plan.primary, std::optional<size_t>(0));
  CHECK_EQ(plan.adopt, std::optional<size_t>(1));
  CHECK(plan.duties[1] == Duty::unknown);
  situation.nodes[1].restarted = true;
  plan = make_plan(situation);
  CHECK_FALSE(plan.adopt.has_value());
  CHECK(plan.duties[1] == Duty::follow);  // nothing was written there
}

}  // namespace sidestream::instance
