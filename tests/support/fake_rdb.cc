// fake_rdb.cc: the dataset as RDB bytes and back. Only the plain encodings are written; the reader knows the integer
// encoded strings too, since aux fields of real servers use them.
#include "common/text.h"
#include "tests/support/fake_data.h"

namespace sidestream::sim {
namespace {

constexpr char kMagic[] = "REDIS0010";

void put_length(std::string& out, size_t n) {
  if (n < 64) {
    out.push_back(static_cast<char>(n));
  } else if (n < 16384) {
    out.push_back(static_cast<char>(0x40 | (n >> 8)));
    out.push_back(static_cast<char>(n & 0xff));
  } else {
    out.push_back(static_cast<char>(0x80));
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>((n >> shift) & 0xff));
  }
}

void put_string(std::string& out, std::string_view text) {
  put_length(out, text.size());
  out.append(text);
}

void put_aux(std::string& out, std::string_view name, std::string_view value) {
  out.push_back(static_cast<char>(0xFA));
  put_string(out, name);
  put_string(out, value);
}

/// Reads front to back; after the first step that did not work, all others fail too.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool good() const { return good_; }
  size_t position() const { return position_; }

  std::string_view take(size_t n) {
    if (!good_ || n > bytes_.size() - position_) {
      good_ = false;
      return {};
    }
    position_ += n;
    return bytes_.substr(position_ - n, n);
  }
  unsigned byte() {
    const auto one = take(1);
    return one.empty() ? 0 : static_cast<unsigned char>(one[0]);
  }
  size_t length() {
    const unsigned first = byte();
    if (first < 0x40) return first;
    if (first < 0x80) return ((first & 0x3f) << 8) | byte();
    if (first != 0x80) good_ = false;
    size_t n = 0;
    for (int i = 0; i < 4; ++i) n = (n << 8) | byte();
    return n;
  }
  std::string text() {
    if (good_ && position_ < bytes_.size() && (static_cast<unsigned char>(bytes_[position_]) & 0xC0) == 0xC0) {
      return integer(byte() & 0x3f);
    }
    return std::string(take(length()));
  }

 private:
  std::string integer(unsigned encoding) {
    if (encoding > 2) good_ = false;
    uint32_t value = 0;
    const unsigned width = encoding > 2 ? 0 : 1U << encoding;
    for (unsigned i = 0; i < width; ++i) value |= byte() << (8 * i);
    if (encoding == 0) return std::to_string(static_cast<int8_t>(value));
    if (encoding == 1) return std::to_string(static_cast<int16_t>(value));
    return std::to_string(static_cast<int32_t>(value));
  }

  std::string_view bytes_;
  size_t position_ = 0;
  bool good_ = true;
};

void read_aux(Reader& reader, RdbAux& aux) {
  const std::string name = reader.text();
  const std::string value = reader.text();
  if (name == "repl-id") aux.replid = value;
  if (name == "repl-offset") aux.offset = parse_int(value).value_or(-1);
  if (name == "repl-stream-db") aux.stream_db = static_cast<int>(parse_int(value).value_or(0));
}

void read_list(Reader& reader, FakeData& data, int db) {
  const std::string key = reader.text();
  FakeValue list{true, {}, {}};
  for (size_t n = reader.length(); n > 0 && reader.good(); --n) list.list.push_back(reader.text());
  data.put(db, key, std::move(list));
}

}  // namespace

std::string encode_rdb(const FakeData& data, const RdbAux& aux) {
  std::string out = kMagic;
  put_aux(out, "redis-ver", "7.0.15");
  put_aux(out, "redis-bits", "64");
  if (!aux.replid.empty()) {
    put_aux(out, "repl-stream-db", std::to_string(aux.stream_db));
    put_aux(out, "repl-id", aux.replid);
    put_aux(out, "repl-offset", std::to_string(aux.offset));
  }
  put_aux(out, "aof-base", "0");
  for (int db = 0; db < FakeData::kDatabases; ++db) {
    if (data.size(db) == 0) continue;
    out.push_back(static_cast<char>(0xFE));
    put_length(out, static_cast<size_t>(db));
    out.push_back(static_cast<char>(0xFB));
    put_length(out, data.size(db));
    put_length(out, 0);
    for (const auto& [key, value] : data.keys(db)) {
      out.push_back(value.is_list ? 1 : 0);
      put_string(out, key);
      if (!value.is_list) put_string(out, value.text);
      if (value.is_list) put_length(out, value.list.size());
      for (const auto& element : value.list) put_string(out, element);
    }
  }
  out.push_back(static_cast<char>(0xFF));
  out.append(8, '\0');  // checksum zero: not computed
  return out;
}

bool decode_rdb(std::string_view bytes, FakeData& data, RdbAux& aux, size_t& used) {
  Reader reader(bytes);
  if (!reader.take(5).starts_with("REDIS")) return false;
  reader.take(4);
  int db = 0;
  while (reader.good()) {
    const unsigned opcode = reader.byte();
    if (opcode == 0xFF) {
      reader.take(8);
      used = reader.position();
      return reader.good();
    }
    if (opcode == 0xFA) {
      read_aux(reader, aux);
    } else if (opcode == 0xFE) {
      db = static_cast<int>(reader.length());
      if (db >= FakeData::kDatabases) return false;
    } else if (opcode == 0xFB) {
      reader.length();
      reader.length();
    } else if (opcode == 0) {
      const std::string key = reader.text();
      data.put(db, key, FakeValue{false, reader.text(), {}});
    } else if (opcode == 1) {
      read_list(reader, data, db);
    } else {
      return false;
    }
  }
  return false;
}

}  // namespace sidestream::sim
