// tls_network.h: TLS over any network: streams of the network below, wrapped where their address says so.
//
// Happy path: connect() returns when the handshake is done and the certificate is accepted; accept() returns at once
// and the handshake goes on while the stream is read. A plain address gives the stream of the network below itself:
// plain connections pay nothing. Which transport a bare address speaks is TlsInForce's to say.
// Failure modes: a failed handshake breaks its stream only, and is counted; an accepted one that takes longer than
// TlsInForce::handshake_ms is given up; plain text is answered with an error in RESP that says so.
#pragma once

#include <memory>

#include "common/byte_stream.h"
#include "common/clock.h"
#include "common/tls_context.h"

namespace sidestream {

/// All three outlive the network, and it outlives its streams.
std::unique_ptr<Network> make_tls_network(Network& below, Clock& clock, TlsInForce& in_force);

}  // namespace sidestream
