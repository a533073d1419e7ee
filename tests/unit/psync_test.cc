// psync_test.cc: the words of the handshake as tables, the end mark at every place, RDB heads.
#include "proxy/replication/psync.h"

#include <vector>

#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

using Words = std::vector<std::string_view>;
const std::string kId = "0123456789abcdef0123456789ABCDEF01234567";

std::string apply(const Words& words, ReplicaHello& hello) {
  const auto result = apply_replconf(words, hello);
  return result.ok() ? "OK" : result.error().detail;
}

std::string apply(const Words& words) {
  ReplicaHello hello;
  return apply(words, hello);
}

TEST_CASE("REPLCONF: what a replica says about itself") {
  ReplicaHello hello;
  CHECK(apply({"REPLCONF", "listening-port", "6380", "IP-Address", "10.0.0.1"}, hello) == "OK");
  CHECK(apply({"replconf", "capa", "eof", "capa", "psync2", "capa", "dual-channel"}, hello) == "OK");
  CHECK(apply({"replconf", "version", "8.0.1", "rdb-only", "1", "rdb-filter-only", ""}, hello) == "OK");
  CHECK(hello.listening_port == 6380);
  CHECK(hello.ip_address == "10.0.0.1");
  CHECK(hello.eof);
  CHECK(hello.psync2);
  CHECK(hello.version == "8.0.1");
  CHECK(hello.rdb_only);
  CHECK(hello.rdb_filter == "");
  CHECK(apply({"replconf", "rdb-only", "0"}, hello) == "OK");
  CHECK_FALSE(hello.rdb_only);
}

TEST_CASE("REPLCONF: errors read as stock's") {
  CHECK(apply({"REPLCONF"}) == "OK");
  CHECK(apply({"REPLCONF", "capa"}) == "ERR syntax error");
  CHECK(apply({"REPLCONF", "listening-port", "x"}) == "ERR value is not an integer or out of range");
  CHECK(apply({"REPLCONF", "rdb-only", "2"}) == "ERR value is out of range, value must between 0 and 1");
  CHECK(apply({"REPLCONF", "rdb-filter-only", "keys"}) == "ERR Unsupported rdb-filter-only option: keys");
  CHECK(apply({"REPLCONF", "uuid", "x"}) == "ERR Unrecognized REPLCONF option: uuid");
  CHECK(apply({"REPLCONF", "rdb-channel", "1"}) == "ERR Unrecognized REPLCONF option: rdb-channel");
  const std::string address(256, '1');
  CHECK(apply({"REPLCONF", "ip-address", address}) ==
        "ERR REPLCONF ip-address provided by replica instance is too long: 256 bytes");
}

TEST_CASE("REPLCONF: what stood before the wrong option holds") {
  ReplicaHello hello;
  CHECK(apply({"REPLCONF", "capa", "eof", "nonsense", "1", "capa", "psync2"}, hello) != "OK");
  CHECK(hello.eof);
  CHECK_FALSE(hello.psync2);
}

TEST_CASE("REPLCONF: acknowledgements are silent") {
  CHECK(replconf_is_silent(Words{"REPLCONF", "ack", "5"}));
  CHECK(replconf_is_silent(Words{"REPLCONF", "ACK", "5", "FACK", "4"}));
  CHECK(replconf_is_silent(Words{"REPLCONF", "getack", "*"}));
  CHECK_FALSE(replconf_is_silent(Words{"REPLCONF", "getack"}));
  CHECK_FALSE(replconf_is_silent(Words{"REPLCONF", "capa", "eof"}));
  CHECK(parse_ack(Words{"replconf", "ack", "77", "fack", "70"}) == ReplOffset{77});
  CHECK_FALSE(parse_ack(Words{"replconf", "ack", "x"}));
  CHECK_FALSE(parse_ack(Words{"ping"}));
}

TEST_CASE("replies to PSYNC") {
  using Kind = PsyncReply::Kind;
  CHECK(parse_psync_reply("").value().kind == Kind::keepalive);
  const auto full = parse_psync_reply("+FULLRESYNC " + kId + " 1234").value();
  CHECK(full.kind == Kind::full_resync);
  CHECK(full.replid.text() == kId);
  CHECK(full.offset == ReplOffset{1234});
  CHECK(parse_psync_reply("+CONTINUE").value().kind == Kind::partial_resync);
  CHECK(parse_psync_reply("+CONTINUE").value().replid.empty());
  CHECK(parse_psync_reply("+CONTINUE " + kId).value().replid.text() == kId);
  CHECK(parse_psync_reply("+CONTINUE abc").value().replid.empty());
  for (const std::string line :
       {"+FULLRESYNC", "+FULLRESYNC x 1", "+FULLRESYNC ", "+OK", "+CONTINUED", ":1", "hello"}) {
    CAPTURE(line);
    CHECK(parse_psync_reply(line).error().code == Errc::protocol);
  }
  CHECK(parse_psync_reply("+FULLRESYNC " + kId).error().code == Errc::protocol);
  CHECK(parse_psync_reply("+FULLRESYNC " + kId + " -1").error().code == Errc::protocol);
  CHECK(parse_psync_reply("+FULLRESYNC " + kId + "0 1").error().code == Errc::protocol);
  CHECK(parse_psync_reply("-NOMASTERLINK later").error().code == Errc::refused);
  CHECK(parse_psync_reply("-NOMASTERLINK later").error().detail == "NOMASTERLINK later");
}

TEST_CASE("headers of payloads") {
  using Kind = PayloadHeader::Kind;
  CHECK(parse_payload_header("").value().kind == Kind::keepalive);
  CHECK(parse_payload_header("$175").value().size == 175);
  CHECK(parse_payload_header("$5000000000").value().size == 5'000'000'000);
  CHECK(parse_payload_header("$EOF:" + kId).value().kind == Kind::marked);
  CHECK(parse_payload_header("$EOF:" + kId).value().mark == kId);
  for (const std::string line : {"$0", "$-1", "$", "$x", "$EOF:short", "+OK", "175"}) {
    CAPTURE(line);
    CHECK(parse_payload_header(line).error().code == Errc::protocol);
  }
  CHECK(parse_payload_header("-ERR BGSAVE failed").error().code == Errc::refused);
}

struct Cut {
  std::string payload, rest;
  bool complete = false;
};

Cut cut(const std::string& bytes, size_t chunk) {
  EofMark mark(kId);
  Cut result;
  for (size_t at = 0; at < bytes.size(); at += chunk) {
    const std::string part = bytes.substr(at, chunk);
    if (result.complete) {
      result.rest += part;
      continue;
    }
    const auto found = mark.feed(part);
    result.payload += std::string(found.held_back) + std::string(found.payload);
    result.rest += found.rest;
    result.complete = found.complete;
  }
  return result;
}

TEST_CASE("the end mark is found wherever the chunks end") {
  const std::vector<std::string> payloads = {"",
                                             "REDIS",
                                             std::string(100, 'x'),
                                             kId.substr(0, 39),
                                             kId.substr(0, 39) + kId.substr(0, 20),
                                             kId.substr(1),
                                             "0123" + kId.substr(0, 39) + "x"};
  for (const std::string& payload : payloads) {
    for (const std::string rest : {"", "\n", "*1\r\n$4\r\nPING\r\n"}) {
      const std::string bytes = payload + kId + rest;
      for (size_t chunk = 1; chunk <= bytes.size(); ++chunk) {
        CAPTURE(payload);
        CAPTURE(chunk);
        const Cut result = cut(bytes, chunk);
        CHECK(result.complete);
        CHECK(result.payload == payload);
        CHECK(result.rest == rest);
      }
    }
  }
}

TEST_CASE("without a mark nothing ends and only what may be a mark is held back") {
  const std::string bytes = std::string(200, 'x') + kId.substr(0, 39);
  for (size_t chunk = 1; chunk <= bytes.size(); ++chunk) {
    const Cut result = cut(bytes, chunk);
    CHECK_FALSE(result.complete);
    CHECK(result.payload.size() >= 200);
    CHECK(bytes.starts_with(result.payload));
  }
}

TEST_CASE("heads of RDB files") {
  const auto head = sniff_rdb(empty_rdb(*ReplId::parse(kId), ReplOffset{1234567})).value();
  CHECK(head.magic == "REDIS0009");
  CHECK(head.repl_id->text() == kId);
  CHECK(head.repl_offset == 1234567);

  using namespace std::string_literals;
  const auto stock = sniff_rdb(
                         "REDIS0010\xfa\x09redis-ver\x06"
                         "7.0.15\xfa\x0aredis-bits\xc0@\xfa\x05"
                         "ctime\xc2\x01\x02\x03\x04"
                         "\xfa\x0brepl-offset\xc1\x10\x27\xff"s)
                         .value();
  CHECK(stock.server_version == "7.0.15");
  CHECK(stock.repl_offset == 10000);
  CHECK_FALSE(stock.repl_id);

  CHECK(sniff_rdb("REDIS").value().magic.empty());
  CHECK(sniff_rdb("VALKEY080").value().magic == "VALKEY080");
  CHECK(sniff_rdb("HTTP/1.1 400").error().code == Errc::protocol);
  const std::string whole = empty_rdb(*ReplId::parse(kId), ReplOffset{7});
  for (size_t size = 0; size < whole.size(); ++size) CHECK(sniff_rdb(whole.substr(0, size)).ok());
}

}  // namespace
}  // namespace sidestream::replication
