// psync.cc: see psync.h. Texts are those of stock Redis 7.0.
#include "proxy/replication/psync.h"

#include <algorithm>
#include <array>

#include "common/text.h"

namespace sidestream::replication {
namespace {

constexpr size_t kAddressBytesMax = 255;

Error refuse(std::string words) { return Error{Errc::refused, std::move(words)}; }

Result<void> apply_option(std::string_view name, std::string_view value, ReplicaHello& hello) {
  if (iequals(name, "listening-port")) {
    const auto port = parse_int(value);
    if (!port) return refuse("ERR value is not an integer or out of range");
    // Stock keeps any number; what is no port cannot be connected to, which is what 0 says.
    hello.listening_port = *port > 0 && *port <= 65535 ? static_cast<int>(*port) : 0;
  } else if (iequals(name, "ip-address")) {
    if (value.size() > kAddressBytesMax) {
      return refuse("ERR REPLCONF ip-address provided by replica instance is too long: " +
                    std::to_string(value.size()) + " bytes");
    }
    hello.ip_address = value;
  } else if (iequals(name, "capa")) {
    if (iequals(value, "eof")) hello.eof = true;
    if (iequals(value, "psync2")) hello.psync2 = true;
    if (iequals(value, kInstanceCapability)) hello.instance = true;
  } else if (iequals(name, "rdb-only")) {
    const auto flag = parse_int(value);
    if (!flag) return refuse("ERR value is not an integer or out of range");
    if (*flag != 0 && *flag != 1) return refuse("ERR value is out of range, value must between 0 and 1");
    hello.rdb_only = *flag == 1;
  } else if (iequals(name, "rdb-filter-only")) {
    const auto words = trim(value);
    if (!words.empty()) return refuse("ERR Unsupported rdb-filter-only option: " + printable(words));
    hello.rdb_filter = "";
  } else if (iequals(name, "version")) {
    hello.version = value;
  } else {
    return refuse("ERR Unrecognized REPLCONF option: " + printable(name));
  }
  return {};
}

std::string_view after(std::string_view text, size_t n) { return text.substr(std::min(n, text.size())); }

}  // namespace

Result<void> apply_replconf(std::span<const std::string_view> args, ReplicaHello& hello) {
  if (args.size() % 2 == 0) return refuse("ERR syntax error");
  for (size_t i = 1; i + 1 < args.size(); i += 2) {
    auto applied = apply_option(args[i], args[i + 1], hello);
    RETURN_IF_ERROR(applied);
  }
  return {};
}

bool replconf_is_silent(std::span<const std::string_view> args) {
  return args.size() >= 3 && args.size() % 2 == 1 && (iequals(args[1], "ack") || iequals(args[1], "getack"));
}

std::optional<ReplOffset> parse_ack(std::span<const std::string_view> args) {
  if (args.size() < 3 || !iequals(args[0], "replconf") || !iequals(args[1], "ack")) return {};
  const auto offset = parse_int(args[2]);
  if (!offset) return {};
  return ReplOffset{*offset};
}

std::optional<ReplOffset> parse_fsync_ack(std::span<const std::string_view> args) {
  if (args.size() < 5 || !parse_ack(args) || !iequals(args[3], "fack")) return {};
  const auto offset = parse_int(args[4]);
  if (!offset) return {};
  return ReplOffset{*offset};
}

Result<PsyncReply> parse_psync_reply(std::string_view line) {
  PsyncReply reply;
  if (line.empty()) return reply;
  if (line[0] == '-') return refuse(std::string(line.substr(1)));
  constexpr std::string_view kFull = "+FULLRESYNC ";
  constexpr std::string_view kPartial = "+CONTINUE";
  if (line.starts_with(kFull)) {
    const auto id = ReplId::parse(after(line, kFull.size()).substr(0, ReplId::kDigits));
    const auto rest = after(line, kFull.size() + ReplId::kDigits);
    const int64_t offset = rest.starts_with(' ') ? parse_int(rest.substr(1)).value_or(-1) : -1;
    if (!id || id->empty() || offset < 0) {
      return Error{Errc::protocol, "malformed reply to PSYNC: " + printable(line)};
    }
    reply = {PsyncReply::Kind::full_resync, *id, ReplOffset{offset}};
    return reply;
  }
  if (line == kPartial || line.starts_with("+CONTINUE ")) {
    reply.kind = PsyncReply::Kind::partial_resync;
    // Like stock: what is not exactly an id behind +CONTINUE is no id.
    reply.replid = ReplId::parse(trim(after(line, kPartial.size()))).value_or(ReplId());
    return reply;
  }
  return Error{Errc::protocol, "unexpected reply to PSYNC: " + printable(line)};
}

Result<PayloadHeader> parse_payload_header(std::string_view line) {
  PayloadHeader header;
  if (line.empty()) return header;
  if (line[0] == '-') return refuse(std::string(line.substr(1)));
  constexpr std::string_view kMarked = "$EOF:";
  if (line.starts_with(kMarked) && line.size() >= kMarked.size() + ReplId::kDigits) {
    header.kind = PayloadHeader::Kind::marked;
    header.mark = line.substr(kMarked.size(), ReplId::kDigits);
    return header;
  }
  const int64_t size = line[0] == '$' ? parse_int(line.substr(1)).value_or(0) : 0;
  if (size <= 0) return Error{Errc::protocol, "unexpected start of a snapshot: " + printable(line)};
  header.kind = PayloadHeader::Kind::sized;
  header.size = size;
  return header;
}

EofMark::Found EofMark::feed(std::string_view chunk) {
  released_.clear();
  const size_t tail = tail_.size();
  // The mark may begin in the tail: look at the tail with as much of the chunk as could complete it.
  std::string seam = tail_;
  seam += chunk.substr(0, mark_.size() - 1);
  if (const size_t at = seam.find(mark_); at != std::string::npos && at < tail) {
    released_ = tail_.substr(0, at);
    tail_.clear();
    return {released_, {}, true, chunk.substr(at + mark_.size() - tail)};
  }
  if (const size_t at = chunk.find(mark_); at != std::string_view::npos) {
    released_.swap(tail_);
    tail_.clear();
    return {released_, chunk.substr(0, at), true, chunk.substr(at + mark_.size())};
  }
  const size_t keep = std::min(mark_.size() - 1, tail + chunk.size());
  if (keep >= chunk.size()) {
    const size_t release = tail + chunk.size() - keep;
    released_ = tail_.substr(0, release);
    tail_.erase(0, release);
    tail_ += chunk;
    return {released_, {}, false, {}};
  }
  released_.swap(tail_);
  tail_ = chunk.substr(chunk.size() - keep);
  return {released_, chunk.substr(0, chunk.size() - keep), false, {}};
}

namespace {

/// Reads the length-prefixed or integer strings of RDB aux fields.
struct RdbReader {
  std::string_view bytes;

  std::optional<uint8_t> byte() {
    if (bytes.empty()) return {};
    const auto value = static_cast<uint8_t>(bytes[0]);
    bytes.remove_prefix(1);
    return value;
  }
  std::optional<std::string> string() {
    const auto first = byte();
    if (!first) return {};
    switch (*first >> 6) {
      case 0:
        return text(*first & 0x3f);
      case 1: {
        const auto second = byte();
        if (!second) return {};
        return text(((*first & 0x3fu) << 8) | *second);
      }
      case 3:
        return *first <= 0xc2 ? integer(size_t{1} << (*first & 0x3f)) : std::nullopt;
      default:
        return {};  // 32 and 64 bit lengths: no aux field of interest is that long
    }
  }

 private:
  std::optional<std::string> text(size_t size) {
    if (bytes.size() < size) return {};
    std::string value(bytes.substr(0, size));
    bytes.remove_prefix(size);
    return value;
  }
  std::optional<std::string> integer(size_t size) {
    if (bytes.size() < size) return {};
    uint32_t raw = 0;
    for (size_t i = 0; i < size; ++i) raw |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
    bytes.remove_prefix(size);
    const auto value = size == 1   ? static_cast<int8_t>(raw)
                       : size == 2 ? static_cast<int16_t>(raw)
                                   : static_cast<int32_t>(raw);
    return std::to_string(value);
  }
};

void append_aux(std::string& out, std::string_view key, std::string_view value) {
  out += '\xfa';
  out += static_cast<char>(key.size());
  out += key;
  out += static_cast<char>(value.size());
  out += value;
}

/// The digits at the end.
int format_version(std::string_view magic) {
  int version = 0;
  for (const char c : magic) version = c >= '0' && c <= '9' ? version * 10 + (c - '0') : 0;
  return version;
}

constexpr size_t kMagicBytes = 9;
constexpr uint8_t kAuxOpcode = 0xfa;
constexpr uint8_t kEndOpcode = 0xff;

}  // namespace

Result<RdbHead> sniff_rdb(std::string_view bytes) {
  RdbHead head;
  if (bytes.size() < kMagicBytes) return head;
  head.magic = bytes.substr(0, kMagicBytes);
  if (!head.magic.starts_with("REDIS") && !head.magic.starts_with("VALKEY")) {
    return Error{Errc::protocol, "the snapshot is no RDB file: it begins with " + printable(head.magic)};
  }
  head.version = format_version(head.magic);
  RdbReader reader{bytes.substr(kMagicBytes)};
  while (!reader.bytes.empty() && static_cast<uint8_t>(reader.bytes[0]) == kAuxOpcode) {
    reader.bytes.remove_prefix(1);
    const auto key = reader.string();
    const auto value = key ? reader.string() : std::nullopt;
    if (!value) break;
    if (*key == "redis-ver" || *key == "valkey-ver") head.server_version = *value;
    if (*key == "repl-id") head.repl_id = ReplId::parse(*value);
    if (*key == "repl-offset") head.repl_offset = parse_int(*value);
  }
  head.empty = !reader.bytes.empty() && static_cast<uint8_t>(reader.bytes[0]) == kEndOpcode;
  return head;
}

std::string empty_rdb(const ReplId& replid, ReplOffset offset) {
  std::string rdb = "REDIS0009";  // the oldest format that any server we support writes: all can read it
  append_aux(rdb, "repl-id", replid.text());
  append_aux(rdb, "repl-offset", std::to_string(offset.value));
  rdb += '\xff';
  rdb.append(8, '\0');  // checksum 0: not computed
  return rdb;
}

}  // namespace sidestream::replication
