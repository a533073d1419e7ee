// sealed_line.h: one line of text with a checksum: what our files say about themselves, readable with `head -1`.
//
//   line = magic *( SP name "=" value ) SP "crc=" 8HEX LF
//
// Values hold no blanks. Failure modes: a line that is cut, changed or begins otherwise is Errc::protocol.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "proxy/replication/repl_id.h"

namespace sidestream::replication {

inline constexpr size_t kSealedLineBytesMax = 512;

/// CRC-32 of `bytes`, going on from that of what stands before them.
uint32_t checksum(std::string_view bytes, uint32_t before = 0);

/// `line` is "magic name=value ...", at most kSealedLineBytesMax with the seal.
std::string seal(std::string line);

struct Unsealed {
  std::map<std::string, std::string, std::less<>> fields;
  size_t size = 0;  ///< of the line, with its end
  std::optional<int64_t> number(std::string_view name) const;
  std::optional<ReplId> id(std::string_view name) const;
};
/// `bytes`: the beginning of a file.
Result<Unsealed> unseal(std::string_view magic, std::string_view bytes);

}  // namespace sidestream::replication
