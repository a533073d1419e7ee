// tls_test.cc: TLS over a network in memory: in pieces, cut and cancelled anywhere, moved between loops, refused.
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include "common/tls_network.h"
#include "tests/support/sim_world.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

/// A self-signed certificate for 10.0.0.1 and `name`, in a directory that goes with it.
class Identity {
 public:
  explicit Identity(const std::string& name, long seconds = 3600) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* made = X509_new();
    X509_set_version(made, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
    X509_gmtime_adj(X509_getm_notBefore(made), seconds < 0 ? 2 * seconds : 0);
    X509_gmtime_adj(X509_getm_notAfter(made), seconds);
    X509_set_pubkey(made, key);
    const auto* text = reinterpret_cast<const unsigned char*>(name.c_str());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC, text, -1, -1, 0);
    X509_set_issuer_name(made, X509_get_subject_name(made));
    const std::string names = "IP:10.0.0.1,DNS:" + name;
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
    X509_add_ext(made, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(made, key, EVP_sha256());
    char directory[] = "/tmp/sidestream-tls-XXXXXX";
    directory_ = mkdtemp(directory);
    cert = directory_ + "/cert.pem";
    this->key = directory_ + "/key.pem";
    write(cert, [&](FILE* file) { PEM_write_X509(file, made); });
    write(this->key, [&](FILE* file) { PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr); });
    X509_free(made);
    EVP_PKEY_free(key);
  }
  ~Identity() {
    unlink(cert.c_str());
    unlink(key.c_str());
    rmdir(directory_.c_str());
  }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;
  std::string cert, key;

 private:
  template <class Writer>
  static void write(const std::string& path, Writer writer) {
    FILE* file = std::fopen(path.c_str(), "w");
    REQUIRE(file != nullptr);
    writer(file);
    std::fclose(file);
  }
  std::string directory_;
};

struct Scene {
  Scene(const TlsSettings& server, const TlsSettings& client, uint64_t seed = 1) : world(seed) {
    auto server_side = TlsContext::for_server(server);
    auto client_side = TlsContext::for_client(client);
    REQUIRE(server_side.ok());
    REQUIRE(client_side.ok());
    in_force.set(server_side.value(), client_side.value(), true);
  }
  static TlsSettings server_of(const Identity& identity) {
    TlsSettings settings;
    settings.cert = identity.cert;
    settings.key = identity.key;
    return settings;
  }
  static TlsSettings client_of(const Identity& identity) {
    TlsSettings settings;
    settings.ca = identity.cert;
    return settings;
  }
  sim::SimWorld world;
  TlsInForce in_force;
  World one = world.at("10.0.0.1");
  World two = world.at("10.0.0.2");
  std::unique_ptr<Network> server = make_tls_network(one.network, one.clock, in_force);
  std::unique_ptr<Network> client = make_tls_network(two.network, two.clock, in_force);
};

/// What one conversation came to.
struct Outcome {
  std::string echoed;
  std::string error;
  bool client_done = false, server_done = false;
};

/// Sends back what comes, until the end; after `move_after` bytes the stream is moved once.
Task<void> echo(Network& network, Listener& listener, size_t move_after, Outcome& outcome) {
  auto accepted = co_await listener.accept();
  REQUIRE(accepted.ok());
  std::unique_ptr<ByteStream> stream = std::move(accepted).value();
  std::string room(3000, '\0');
  size_t seen = 0;
  for (;;) {
    auto n = co_await stream->read(room);
    if (!n.ok() || n.value() == 0) break;
    stream->write(std::string_view(room).substr(0, n.value()));
    auto drained = co_await stream->drained(4096);
    if (!drained.ok()) break;
    const size_t before = std::exchange(seen, seen + n.value());
    if (before < move_after && seen >= move_after) stream = network.adopt(network.release(std::move(stream)));
  }
  stream->close_write();
  outcome.server_done = true;
}

Task<void> send_all(ByteStream& stream, const std::string& bytes) {
  for (size_t from = 0; from < bytes.size(); from += 5000) {
    stream.write(std::string_view(bytes).substr(from, 5000));
    auto drained = co_await stream.drained(10'000);
    if (!drained.ok()) co_return;
  }
  stream.close_write();
}

Task<void> talk(Network& network, Address address, std::string bytes, Outcome& outcome) {
  auto connected = co_await network.connect(address);
  if (!connected.ok()) {
    outcome.error = connected.error().detail;
  } else {
    std::unique_ptr<ByteStream> stream = std::move(connected).value();
    TaskSet sending;
    sending.add(send_all(*stream, bytes));
    std::string room(20'000, '\0');
    for (;;) {
      auto n = co_await stream->read(room);
      if (!n.ok()) outcome.error = n.error().detail;
      if (!n.ok() || n.value() == 0) break;
      outcome.echoed.append(room, 0, n.value());
    }
  }
  outcome.client_done = true;
}

Outcome converse(Scene& scene, const std::string& bytes, size_t move_after = SIZE_MAX, int64_t until_ms = 60'000) {
  Outcome outcome;
  const Address address{"10.0.0.1", 7000, ""};
  auto listener = scene.server->listen(address);
  REQUIRE(listener.ok());
  TaskSet tasks;
  tasks.add(echo(*scene.server, *listener.value(), move_after, outcome));
  tasks.add(talk(*scene.client, address, bytes, outcome));
  scene.world.run_until([&] { return outcome.client_done; }, until_ms);
  return outcome;
}

std::string some_bytes(size_t size) {
  std::string bytes;
  for (size_t i = 0; bytes.size() < size; ++i) bytes += fmt::format("{} ", i);
  bytes.resize(size);
  return bytes;
}

}  // namespace

TEST_CASE("tls: the authorities of the system are read when somebody is spoken to, not at the start") {
  const Identity identity("node.example");
  const TlsSettings trusting;  // names no authorities
  Scene scene(Scene::server_of(identity), trusting);
  ::setenv("SSL_CERT_FILE", identity.cert.c_str(), 1);
  const Outcome outcome = converse(scene, "hello");
  ::unsetenv("SSL_CERT_FILE");
  CHECK(outcome.error.empty());
  CHECK(outcome.echoed == "hello");
}

TEST_CASE("tls: what is sent arrives, in pieces of any size and through a move between loops") {
  const Identity identity("node.example");
  const std::string bytes = some_bytes(100'000);
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{1000}, size_t{0}}) {
    CAPTURE(piece);
    Scene scene(Scene::server_of(identity), Scene::client_of(identity), 7 + piece);
    scene.world.weather().pieces = piece > 0 ? 1000 : 0;
    scene.world.weather().piece_max = piece;
    const Outcome outcome = converse(scene, bytes, 20'000, 600'000);
    CHECK(outcome.error.empty());
    CHECK(outcome.echoed == bytes);
    CHECK(scene.in_force.handshakes == 2);
    CHECK(scene.in_force.failed_handshakes == 0);
  }
}

TEST_CASE("tls: cut anywhere, both sides end and nothing is left; cancelled anywhere as well") {
  const Identity identity("node.example");
  const std::string bytes = some_bytes(2000);
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Scene scene(Scene::server_of(identity), Scene::client_of(identity), seed);
    scene.world.weather().pieces = 1000;
    scene.world.weather().piece_max = 40;
    if (seed % 2 == 0) {
      scene.world.weather().cut = 1000;
      scene.world.weather().cut_within = 6000;
      const Outcome outcome = converse(scene, bytes);
      CHECK(outcome.client_done);
      CHECK(bytes.starts_with(outcome.echoed));
    } else {
      (void)converse(scene, bytes, SIZE_MAX,
                     static_cast<int64_t>(seed) / 4);  // its tasks are cancelled wherever they are
    }
    scene.world.run_for(5000);
    CHECK(scene.world.leaks() == "");
  }
}

TEST_CASE("tls: the certificate must be of the authority, for the host, and not over") {
  const Identity identity("node.example"), stranger("node.example"), over("node.example", -100);
  const auto error_of = [&](const TlsSettings& server, const TlsSettings& client) {
    Scene scene(server, client);
    return converse(scene, "PING\r\n").error;
  };
  TlsSettings client = Scene::client_of(identity);
  CHECK(error_of(Scene::server_of(identity), client).empty());
  CHECK(error_of(Scene::server_of(stranger), client).find("is not accepted") != std::string::npos);
  CHECK(error_of(Scene::server_of(over), Scene::client_of(over)).find("expired") != std::string::npos);
  client.expected_name = "node.example";
  CHECK(error_of(Scene::server_of(identity), client).empty());
  client.expected_name = "other.example";
  CHECK(error_of(Scene::server_of(identity), client).find("ostname mismatch") != std::string::npos);
  client.check_name = false;
  CHECK(error_of(Scene::server_of(identity), client).empty());
}

TEST_CASE("tls: client certificates that are required") {
  const Identity identity("node.example"), visitor("client.example");
  TlsSettings server = Scene::server_of(identity);
  server.ca = visitor.cert;
  server.require_peer = true;
  TlsSettings client = Scene::client_of(identity);
  {
    Scene scene(server, client);
    const Outcome outcome = converse(scene, "PING\r\n");
    CHECK(outcome.echoed.empty());
    CHECK_FALSE(outcome.error.empty());
    CHECK(scene.in_force.failed_handshakes >= 1);
  }
  client.cert = visitor.cert;
  client.key = visitor.key;
  Scene scene(server, client);
  CHECK(converse(scene, "PING\r\n").echoed == "PING\r\n");
}

TEST_CASE("tls: plain text on a TLS address is told so; a handshake that stalls is given up") {
  const Identity identity("node.example");
  Scene scene(Scene::server_of(identity), Scene::client_of(identity));
  const Address address{"10.0.0.1", 7000, ""};
  auto listener = scene.server->listen(address);
  REQUIRE(listener.ok());
  TaskSet tasks;
  Outcome plain, silent, server;
  tasks.add(echo(*scene.server, *listener.value(), SIZE_MAX, server));
  SUBCASE("plain text") {
    Address bare = address;
    bare.transport = Transport::plain;
    tasks.add(talk(*scene.client, bare, "PING\r\n", plain));
    scene.world.run_until([&] { return plain.client_done; }, 5000);
    CHECK(plain.echoed.starts_with("-ERR this address speaks TLS"));
  }
  SUBCASE("silence") {
    Address bare = address;
    bare.transport = Transport::plain;
    tasks.add(talk(*scene.client, bare, "", silent));
    scene.world.run_until([&] { return server.server_done; }, scene.in_force.handshake_ms - 1000);
    scene.world.run_until([&] { return server.server_done; }, 2000);
    CHECK(server.server_done);
  }
  scene.world.run_for(100);
  CHECK(scene.in_force.failed_handshakes == 1);
}

TEST_CASE("tls: files that cannot be used are named") {
  const Identity identity("node.example"), other("node.example");
  const auto error_of = [](const std::string& cert, const std::string& key) {
    TlsSettings settings;
    settings.cert = cert;
    settings.key = key;
    const auto made = TlsContext::for_server(settings);
    return made.ok() ? std::string() : made.error().detail;
  };
  CHECK(error_of(identity.cert, identity.key).empty());
  CHECK(error_of("/nowhere.pem", identity.key).find("the certificate '/nowhere.pem' cannot be used") == 0);
  CHECK(error_of(identity.cert, other.key).find("the private key '" + other.key) == 0);
  CHECK(error_of(identity.key, identity.key).find("the certificate") == 0);
}

}  // namespace sidestream
