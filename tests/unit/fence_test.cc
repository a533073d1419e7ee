// fence_test.cc: who may take writes, case by case.
#include "proxy/instance/fence.h"

#include "tests/unit/unit_test.h"

namespace sidestream::instance {
namespace {

/// A primary of a while, named by Sentinels a moment ago, with two replicas.
FenceFacts well() {
  FenceFacts facts;
  facts.now_ms = 100'000;
  facts.fence_after_ms = 3000;
  facts.asks_sentinels = true;
  facts.agreed_ms = 99'500;
  facts.named = "10.0.0.1:6379";
  facts.names_us = true;
  facts.replicas_known = facts.replicas_heard = 2;
  return facts;
}

}  // namespace

TEST_CASE("a primary that all know takes writes") {
  CHECK_EQ(fence_reason(well()), "");
  CHECK_EQ(fence_reason(FenceFacts{}), "");  // nobody to ask, nothing configured
}

TEST_CASE("whom Sentinels name instead, and when that counts") {
  FenceFacts facts = well();
  facts.fence_after_ms = 0;
  facts.names_us = false;
  CHECK_EQ(fence_reason(facts), "");  // they have not heard of our role yet
  facts.is_news = true;
  CHECK_EQ(fence_reason(facts), "the Sentinels name 10.0.0.1:6379 as the primary");
  facts.names_our_replica = true;  // it handed over to us, and follows us
  CHECK_EQ(fence_reason(facts), "");
}

TEST_CASE("an instance says that it went on with our history") {
  FenceFacts facts = well();
  facts.successor = "10.0.0.2:6379";
  CHECK_EQ(fence_reason(facts), "the history went on at 10.0.0.2:6379");
}

TEST_CASE("after a start Sentinels are asked first") {
  FenceFacts facts = well();
  facts.agreed_ms = -1;
  facts.began_as_primary = true;
  facts.unsure_since_ms = 10'000;
  CHECK_NE(fence_reason(facts), "");
  facts.fence_after_ms = 0;
  CHECK_EQ(fence_reason(facts), "");  // they do not answer: long enough
  facts.unsure_since_ms = 98'000;
  CHECK_NE(fence_reason(facts), "");
  facts.began_as_primary = false;  // somebody promoted us
  CHECK_EQ(fence_reason(facts), "");
  facts.began_as_primary = true;
  facts.asks_sentinels = false;
  CHECK_EQ(fence_reason(facts), "");
}

TEST_CASE("cut off with Sentinels: every replica has to be ours still") {
  FenceFacts facts = well();
  facts.agreed_ms = 96'999;
  CHECK_EQ(fence_reason(facts), "");
  facts.replicas_heard = 1;
  CHECK_NE(fence_reason(facts), "");
  facts.agreed_ms = 97'000;
  CHECK_EQ(fence_reason(facts), "");
  facts.agreed_ms = 90'000;
  facts.replicas_known = facts.replicas_heard = 0;
  CHECK_NE(fence_reason(facts), "");
  facts.primary_since_ms = 97'000;  // not for that long yet
  CHECK_EQ(fence_reason(facts), "");
  facts.primary_since_ms = 0;
  facts.fence_after_ms = 0;
  CHECK_EQ(fence_reason(facts), "");
}

TEST_CASE("cut off without Sentinels: any replica will do") {
  FenceFacts facts = well();
  facts.asks_sentinels = false;
  facts.agreed_ms = -1;
  facts.replicas_heard = 1;
  CHECK_EQ(fence_reason(facts), "");
  facts.replicas_heard = 0;
  CHECK_EQ(fence_reason(facts), "cut off from every replica for longer than fence-after");
  facts.replicas_known = 0;  // there never was one
  CHECK_EQ(fence_reason(facts), "");
}

}  // namespace sidestream::instance
