// info_test.cc: INFO and ROLE as texts, and the cutting and mending of a node's INFO.
#include "proxy/admin/info.h"

#include "tests/unit/unit_test.h"

namespace sidestream::admin {

TEST_CASE("INFO replication of a primary, line by line") {
  ReplicationFacts facts;
  facts.connected_replicas = 1;
  facts.replicas = {{"10.0.0.7", 6379, "online", 1234, 1}};
  facts.replid = std::string(40, 'a');
  facts.replid2 = std::string(40, '0');
  facts.offset = 1240;
  facts.backlog_active = true;
  facts.backlog_size = 1048576;
  facts.backlog_first_byte = 1;
  facts.backlog_histlen = 1240;
  CHECK_EQ(replication_section(facts),
           "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"
           "slave0:ip=10.0.0.7,port=6379,state=online,offset=1234,lag=1\r\nmaster_failover_state:no-failover\r\n"
           "master_replid:" +
               std::string(40, 'a') + "\r\nmaster_replid2:" + std::string(40, '0') +
               "\r\nmaster_repl_offset:1240\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:1\r\n"
               "repl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:1240\r\n");
  CHECK_EQ(role_reply(facts),
           "*3\r\n$6\r\nmaster\r\n:1240\r\n*1\r\n*3\r\n$8\r\n10.0.0.7\r\n$4\r\n6379\r\n$4\r\n1234\r\n");
}

TEST_CASE("ROLE of a replica hides its offset until it is connected") {
  ReplicationFacts facts;
  facts.is_primary = false;
  facts.master_host = "h";
  facts.master_port = 1;
  facts.applied_offset = 77;
  facts.link_state = "sync";
  CHECK_EQ(role_reply(facts), "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$4\r\nsync\r\n:-1\r\n");
  facts.link_state = "connected";
  CHECK_EQ(role_reply(facts), "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:77\r\n");
}

TEST_CASE("sections are cut, mended and joined without loss") {
  const std::string info = "# Server\r\nrun_id:abc\r\ntcp_port:1\r\n\r\n# Keyspace\r\ndb0:keys=1\r\n";
  auto sections = split_sections(info);
  CHECK_EQ(sections.size(), 2);
  CHECK_EQ(join_sections(sections), info);
  set_field(sections[0], "tcp_port", "6379");
  set_field(sections[0], "run_id", "xyz");
  set_field(sections[0], "port", "9");  // not a field, though a part of one
  CHECK_EQ(sections[0].body, "run_id:xyz\r\ntcp_port:6379\r\n");
}

TEST_CASE("wished sections") {
  const std::vector<std::string> none;
  CHECK(parse_sections(none).wants("server", true));
  CHECK_FALSE(parse_sections(none).wants("commandstats", false));
  const std::vector<std::string> ours = {"Replication", "sidestream"};
  CHECK(parse_sections(ours).only_ours());
  CHECK_FALSE(parse_sections(ours).wants("server", true));
  const std::vector<std::string> all = {"everything"};
  CHECK(parse_sections(all).wants("commandstats", false));
  CHECK_FALSE(parse_sections(all).only_ours());
}

}  // namespace sidestream::admin
