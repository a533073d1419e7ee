// peers_test.cc: the replicas that a primary's INFO names.
#include "proxy/instance/peers.h"

#include "tests/unit/unit_test.h"

namespace sidestream::instance {

TEST_CASE("replicas with a port are peers") {
  const std::string info =
      "# Replication\r\nrole:master\r\nconnected_slaves:4\r\n"
      "slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=0\r\n"
      "slave1:ip=10.0.0.2,port=0,state=online,offset=14,lag=0\r\n"
      "slave2:ip=node.example,port=6380,state=wait_bgsave,offset=0,lag=0\r\n"
      "slave3:ip=::1,port=6381,state=online,offset=0,lag=0\r\n"
      "master_failover_state:no-failover\r\n";
  const std::vector<Address> found = replicas_in(info);
  REQUIRE_EQ(found.size(), 3);
  CHECK_EQ(found[0].text(), "10.0.0.1:6379");
  CHECK_EQ(found[1].text(), "node.example:6380");
  CHECK_EQ(found[2].host, "::1");
}

TEST_CASE("a replica's INFO and nonsense name nobody") {
  CHECK(replicas_in("").empty());
  CHECK(replicas_in("role:slave\r\nmaster_host:h\r\n").empty());
  CHECK(replicas_in("slave0:ip=,port=1\r\n").empty());
  CHECK(replicas_in("slave0:port=1\r\nslave1:ip=h,port=x\r\nslave2:ip=h\r\n").empty());
}

}  // namespace sidestream::instance
