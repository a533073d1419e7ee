// sealed_line.cc: see sealed_line.h.
#include "proxy/replication/sealed_line.h"

#include <fmt/format.h>
#include <zlib.h>

#include "common/text.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kCrcField = " crc=";
constexpr size_t kCrcDigits = 8;

Error damaged(std::string_view what) { return Error{Errc::protocol, "damaged: " + std::string(what)}; }

}  // namespace

uint32_t checksum(std::string_view bytes, uint32_t before) {
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string seal(std::string line) {
  line += fmt::format("{}{:08x}\n", kCrcField, checksum(line));
  CHECK(line.size() <= kSealedLineBytesMax);
  return line;
}

std::optional<int64_t> Unsealed::number(std::string_view name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? std::nullopt : parse_int(found->second);
}

std::optional<ReplId> Unsealed::id(std::string_view name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? std::nullopt : ReplId::parse(found->second);
}

Result<Unsealed> unseal(std::string_view magic, std::string_view bytes) {
  const size_t newline = bytes.substr(0, kSealedLineBytesMax).find('\n');
  if (!bytes.starts_with(magic)) return damaged("it does not begin with \"" + std::string(magic) + "\"");
  if (newline == std::string_view::npos) return damaged("its header has no end");
  const std::string_view line = bytes.substr(0, newline);
  const size_t crc_at = line.rfind(kCrcField);
  const bool right = crc_at != std::string_view::npos && crc_at >= magic.size() &&
                     line.size() == crc_at + kCrcField.size() + kCrcDigits &&
                     line.substr(crc_at + kCrcField.size()) == fmt::format("{:08x}", checksum(line.substr(0, crc_at)));
  if (!right) return damaged("its header's checksum");
  Unsealed unsealed;
  unsealed.size = newline + 1;
  for (const std::string& field : split(line.substr(magic.size(), crc_at - magic.size()), ' ')) {
    const size_t equals = field.find('=');
    if (equals != std::string::npos) unsealed.fields.emplace(field.substr(0, equals), field.substr(equals + 1));
  }
  return unsealed;
}

}  // namespace sidestream::replication
