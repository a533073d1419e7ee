// script_cache.cc: see the header.
#include "proxy/routing/script_cache.h"

#include <openssl/evp.h>

#include <array>
#include <utility>

#include "common/check.h"
#include "common/text.h"
#include "proxy/routing/freshness.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {

Effect effect_of_script(std::string_view body) {
  if (!body.starts_with("#!")) return Effect::writes;
  const std::string first_line(body.substr(0, body.find('\n')));
  for (const std::string& word : split(first_line, ' ')) {
    constexpr std::string_view kFlags = "flags=";
    if (!word.starts_with(kFlags)) continue;
    for (const std::string& flag : split(std::string_view(word).substr(kFlags.size()), ',')) {
      if (flag == "no-writes") return Effect::reads;
    }
  }
  return Effect::writes;
}

std::string sha1_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha1(), nullptr) == 1);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

bool ScriptCache::add(std::string_view body) {
  if (body.size() > limits::kScriptBytesMax) return false;
  const uint64_t hash = hash_key(body);
  const std::lock_guard lock(mutex_);
  if (shas_.contains(hash)) return false;  // should two bodies have one hash, the second does without us
  std::string sha = sha1_hex(body);
  scripts_[sha] = std::make_shared<const std::string>(body);
  shas_[hash] = sha;
  order_.emplace_back(hash, std::move(sha));
  bytes_ += body.size();
  while (order_.size() > limits::kScriptsMax || bytes_ > limits::kScriptsBytesMax) {
    const auto [old_hash, old_sha] = std::move(order_.front());
    order_.pop_front();
    bytes_ -= scripts_.at(old_sha)->size();
    scripts_.erase(old_sha);
    shas_.erase(old_hash);
  }
  return true;
}

void ScriptCache::forget_scripts() {
  const std::lock_guard lock(mutex_);
  scripts_.clear();
  shas_.clear();
  order_.clear();
  bytes_ = 0;
}

std::shared_ptr<const std::string> ScriptCache::body(std::string_view sha) const {
  const std::string wanted = to_lower(sha);
  const std::lock_guard lock(mutex_);
  const auto found = scripts_.find(wanted);
  return found == scripts_.end() ? nullptr : found->second;
}

Effect ScriptCache::effect_of_function(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = functions_.find(name);
  return found == functions_.end() ? Effect::unknown : found->second;
}

void ScriptCache::learn_function(std::string_view name, Effect effect) {
  const std::lock_guard lock(mutex_);
  if (functions_.size() >= limits::kFunctionsKnownMax) functions_.clear();
  functions_[std::string(name)] = effect;
}

void ScriptCache::forget_functions() {
  const std::lock_guard lock(mutex_);
  functions_.clear();
}

}  // namespace sidestream::routing
