// psync_fuzz.cc: the texts of the replication handshake and the end of a marked payload: no text breaks the parsers,
// and a payload comes out whole wherever the borders of the chunks fall.
#include <string>
#include <vector>

#include "common/text.h"
#include "proxy/replication/psync.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

void check_texts(std::string_view line) {
  using namespace replication;
  const auto reply = parse_psync_reply(line);
  if (reply.ok() && reply.value().kind == PsyncReply::Kind::full_resync) {
    CHECK(reply.value().replid.text().size() == 40);
    CHECK(reply.value().offset.value >= 0);
  }
  const auto header = parse_payload_header(line);
  if (header.ok() && header.value().kind == PayloadHeader::Kind::sized) CHECK(header.value().size >= 0);
  if (header.ok() && header.value().kind == PayloadHeader::Kind::marked) CHECK(header.value().mark.size() == 40);
  const std::vector<std::string> words = split(line, ' ');
  const std::vector<std::string_view> args(words.begin(), words.end());
  ReplicaHello hello;
  (void)apply_replconf(args, hello);
  (void)replconf_is_silent(args);
  (void)parse_ack(args);
  (void)sniff_rdb(line);
}

/// The mark is chosen from few letters: its beginnings are everywhere in the payload.
void check_mark(Input& input) {
  std::string mark;
  const uint8_t pattern = input.take();
  for (size_t i = 0; i < 40; ++i) mark += (pattern >> (i % 8)) % 2 != 0 ? 'a' : 'b';
  const size_t piece = 1 + input.take_below(60);
  std::string stream;
  for (const char c : input.rest())
    stream += c % 4 == 3 ? mark.substr(0, static_cast<uint8_t>(c) % 40) : c % 2 != 0 ? "a" : "b";
  stream += mark;
  const std::string behind = "behind";
  const size_t end = stream.find(mark);
  const std::string rest = stream.substr(end + mark.size()) + behind;
  stream += behind;

  replication::EofMark scanner(mark);
  std::string payload, left;
  bool complete = false;
  for (const std::string_view each : pieces_of(stream, piece)) {
    const std::string chunk(each);  // gone before the next one comes
    if (complete) {
      left += chunk;
      continue;
    }
    const auto found = scanner.feed(chunk);
    payload += found.held_back;
    payload += found.payload;
    complete = found.complete;
    if (complete) left += found.rest;
  }
  CHECK(complete);
  CHECK(payload == stream.substr(0, end));
  CHECK(left == rest);
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  Input input(data, size);
  if (input.take() % 2 == 0) {
    check_texts(input.rest());
  } else {
    check_mark(input);
  }
  return 0;
}
