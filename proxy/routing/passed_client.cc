// passed_client.cc: see the header. CBOR, since what clients send is no text.
#include "proxy/routing/passed_client.h"

#include <nlohmann/json.hpp>

namespace sidestream::routing {

std::string PassedClient::text() const {
  const nlohmann::json all = {{"id", id},
                              {"face", static_cast<int>(face)},
                              {"reserved", reserved},
                              {"user", user},
                              {"authenticated", authenticated},
                              {"protocol", protocol},
                              {"db", db},
                              {"name", name},
                              {"library-name", library_name},
                              {"library-version", library_version},
                              {"policy", policy ? static_cast<int>(*policy) : -1},
                              {"read-after", read_after},
                              {"has-written", has_written},
                              {"no-evict", no_evict},
                              {"reply-mode", reply_mode},
                              {"age-ms", age_ms},
                              {"input", input},
                              {"unsent", unsent}};
  std::string bytes;
  nlohmann::json::to_cbor(all, bytes);
  return bytes;
}

Result<PassedClient> PassedClient::parse(std::string_view text) try {
  const auto all = nlohmann::json::from_cbor(text);
  PassedClient client;
  all.at("id").get_to(client.id);
  client.face = static_cast<Face>(all.at("face").get<int>());
  all.at("reserved").get_to(client.reserved);
  all.at("user").get_to(client.user);
  all.at("authenticated").get_to(client.authenticated);
  all.at("protocol").get_to(client.protocol);
  all.at("db").get_to(client.db);
  all.at("name").get_to(client.name);
  all.at("library-name").get_to(client.library_name);
  all.at("library-version").get_to(client.library_version);
  if (const int policy = all.at("policy").get<int>(); policy >= 0) client.policy = static_cast<ReadPolicy>(policy);
  all.at("read-after").get_to(client.read_after);
  all.at("has-written").get_to(client.has_written);
  all.at("no-evict").get_to(client.no_evict);
  all.at("reply-mode").get_to(client.reply_mode);
  all.at("age-ms").get_to(client.age_ms);
  all.at("input").get_to(client.input);
  all.at("unsent").get_to(client.unsent);
  return client;
} catch (const nlohmann::json::exception& e) {
  return Error{Errc::protocol, e.what()};
}

}  // namespace sidestream::routing
