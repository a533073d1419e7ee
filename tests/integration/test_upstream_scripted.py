"""The upstream side against a scripted primary: every pathological answer that the protocol facts list.

The instance has one stock node below it: what the node ends with is what counts. Each refusal must be survived,
retried without a hot loop, and must leave what is below untouched. Tests that take `fake` run against a stock replica
first, which proves the scripted primary; those that take `relayed` ask more than a stock replica offers.
"""

import threading
import time

import pytest

from fake_primary import CLOSE, SILENCE, FakePrimary
from fake_replica import GETACK, PING
from fault_proxy import FaultProxy
from harness import free_port, stays, wait_for
from resp_client import encode

DATA = {0: {"a": "1", "long": "x" * 5000}, 3: {"b": "2"}}


@pytest.fixture
def fake(lab, subject):
    lab.subject = subject
    return lab.closing(FakePrimary(databases=DATA))


@pytest.fixture
def relayed(lab, binary):
    lab.subject = "instance"
    return lab.closing(FakePrimary(databases=DATA))


def follower(lab, fake, node_password="", **config):
    """(what follows `fake`, the stock node that ends with the data), started but not awaited."""
    if lab.subject == "stock":
        node = lab.server(name="node", **config)
        node.replicaof(fake)
        return node, node
    node = lab.server(name="node", **({"requirepass": node_password} if node_password else {}))
    return lab.instance([node], replicaof=fake, ready=False, **config), node


def wait_filled(fake, node, timeout=20):
    wait_for(lambda: node("GET", "a") == b"1" and node.offset() == fake.offset, timeout,
             "the node to have the data and the offset")


def synced(lab, fake, **config):
    instance, node = follower(lab, fake, **config)
    wait_filled(fake, node)
    return instance, node


def attempts(fake):
    return len(fake.received("PSYNC")) + len(fake.received("SYNC"))


def test_handshake_says_who_we_are(lab, fake):
    instance, _ = synced(lab, fake)
    psync = next(number for number, words in fake.commands if words[0] == b"PSYNC")
    words = [w for number, w in fake.commands if number == psync]
    names = [b" ".join(w[:2]).lower() for w in words]
    assert words[0] == [b"PING"]
    assert [b"REPLCONF", b"listening-port", str(instance.port).encode()] in words
    assert any(n == b"replconf capa" for n in names) and b"eof" in b" ".join(map(b" ".join, words))
    assert names.index(b"replconf listening-port") < [n.split()[0] for n in names].index(b"psync")


def test_announced_address_is_sent(lab, relayed):
    """To the upstream, and to the nodes: what is announced has to lead back here."""
    node, port = lab.server(), free_port()
    way_back = lab.closing(FaultProxy(port))
    lab.instance([node], replicaof=relayed, ready=False, listen=f"127.0.0.1:{port}", announce_ip="127.0.0.1",
                 announce_port=way_back.port)
    wait_filled(relayed, node)
    assert node.info()["master_port"] == str(way_back.port)
    words = [w for _, w in relayed.commands]
    assert [b"REPLCONF", b"listening-port", b"%d" % way_back.port] in words
    assert [b"REPLCONF", b"ip-address", b"127.0.0.1"] in words


@pytest.mark.parametrize("reply", [b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n",
                                   b"-LOADING Redis is loading the dataset in memory\r\n",
                                   b"-MASTERDOWN Link with MASTER is down\r\n", b"-ERR whatever\r\n",
                                   b"-NOPERM no\r\n", b"+WHATEVER\r\n", b"+FULLRESYNC\r\n",
                                   b"+FULLRESYNC tooshort 12\r\n", b"+FULLRESYNC %s abc\r\n" % (b"a" * 40),
                                   b"*0\r\n", b":5\r\n", b"$3\r\nabc\r\n", b"x" * 5000 + b"\r\n",
                                   b"\n\n\r\n-LOADING after keepalives\r\n", CLOSE],
                         ids=lambda r: "closed" if r is CLOSE else r[:20].decode().strip().replace(" ", "_"))
def test_refused_psync_is_retried(lab, fake, reply):
    """Refused twice, then accepted. Sync fallbacks are refused as well: this primary speaks PSYNC only."""
    def odd(connection, _words):
        if reply is not CLOSE:
            connection.send(reply)
        return CLOSE
    fake.answers = [odd] * 2
    fake.on["SYNC"] = b"-ERR not now\r\n"
    instance, node = synced(lab, fake)
    assert not fake.answers, "both refusals were seen"
    assert instance.link_up() and node.replid() == fake.replid


@pytest.mark.parametrize("name, reply", [("PSYNC", b"-ERR never\r\n"), ("PSYNC", CLOSE),
                                         ("PING", b"-MISCONF disk\r\n"), ("PING", b"-LOADING wait\r\n"),
                                         ("PING", CLOSE)],
                         ids=["psync-error", "psync-closed", "ping-misconf", "ping-loading", "ping-closed"])
def test_no_hot_loop_when_refused_for_long(lab, relayed, name, reply):
    fake = relayed
    fake.on[name] = reply
    fake.on["SYNC"] = b"-ERR never\r\n"
    instance, node = follower(lab, fake)
    wait_for(lambda: fake.received(name), 10, "a first attempt")
    before = len(fake.connections)
    time.sleep(3)                            # a rate is counted: there is no condition to wait for
    assert len(fake.connections) - before < 40, "more than a dozen connections a second"
    assert not instance.link_up()
    assert instance.info()["master_link_status"] == "down"
    del fake.on[name]
    wait_filled(fake, node)


def test_a_primary_that_wants_a_password_first(lab, fake):
    """PING before AUTH gets -NOAUTH: not a reason to give up. Whoever begins with AUTH never sees it."""
    known = set()

    def auth(connection, _words):
        known.add(connection.number)
        return b"+OK\r\n"
    fake.on["AUTH"] = auth
    fake.on["PING"] = lambda c, _: b"+PONG\r\n" if c.number in known else b"-NOAUTH Authentication required.\r\n"
    synced(lab, fake, masterauth="secret", node_password="secret")
    assert [b"AUTH", b"secret"] in [words for _, words in fake.commands]


def test_any_status_reply_to_ping_will_do(lab, fake):
    fake.on["PING"] = b"+ANYTHING\r\n"
    synced(lab, fake)


def test_errors_to_replconf_are_not_critical(lab, fake):
    def old_server(connection, words):
        if words[1].lower() == b"ack":
            return fake._replconf(connection, words)
        return b"-ERR Unrecognized REPLCONF option: %s\r\n" % words[1]
    fake.on["REPLCONF"] = old_server
    instance, _ = synced(lab, fake)
    assert instance.link_up()


def test_keepalives_before_the_reply_and_before_the_payload(lab, fake):
    """Newlines for longer than repl-timeout, at both places where they are legal."""
    def slow(connection, words):
        def serve():
            for _ in range(5):
                time.sleep(0.5)
                connection.send(b"\n")
            connection.send(b"+FULLRESYNC %s %d\r\n" % (fake.replid.encode(), fake.offset))
            for _ in range(5):
                time.sleep(0.5)
                connection.send(b"\n")
            connection.send(fake.payload(connection))
            connection.sent, connection.waiting_ack = fake.offset, fake.eof_payload
        threading.Thread(target=serve, daemon=True).start()
        return SILENCE
    fake.answers = [slow]
    _, node = follower(lab, fake, repl_timeout=2)
    wait_filled(fake, node, 30)
    assert not fake.answers


@pytest.mark.parametrize("eof", [True, False])
@pytest.mark.parametrize("step", range(0, 21, 5))
def test_payload_cut_at_each_twentieth(lab, fake, eof, step):
    """The transfer breaks at `step`/20 and its four neighbours, one attempt each, then succeeds."""
    fake.eof_payload = eof
    cuts = [(step + n) / 20 for n in range(5) if step + n <= 20]

    def cut(connection):
        payload = fake.payload(connection)
        if not cuts:
            return payload
        length = min(len(payload) - 1, int(len(payload) * cuts.pop(0)))
        connection.send(payload[:length])
        return CLOSE
    fake.make_payload = cut
    fake.on["INFO"] = b"-ERR no info here\r\n"   # no shortcut: the dataset itself has to come
    instance, node = follower(lab, fake)
    wait_filled(fake, node, 40)
    fake.write("SELECT", 0)
    fake.write("SET", "c", "3")
    wait_for(lambda: node("GET", "c") == b"3", 10, "the stream after the payload")
    assert instance.info()["master_link_status"] == "up"


def dribble(connection, data, size, then=None):
    """Sends in pieces of `size`, each on its own."""
    def serve():
        for start in range(0, len(data), size):
            connection.send(data[start:start + size])
            time.sleep(0.001)
        if then:
            then()
    threading.Thread(target=serve, daemon=True).start()


@pytest.mark.parametrize("size", [1, 7, 39, 41])
@pytest.mark.parametrize("eof", [True, False])
def test_payload_in_small_pieces(lab, fake, eof, size):
    fake.databases = {0: {"a": "1", "m": "f" * 300}}
    fake.eof_payload = eof

    def small(connection):
        dribble(connection, fake.payload(connection), size)
        return SILENCE
    fake.make_payload = small
    synced(lab, fake)


def test_a_prefix_of_the_mark_inside_the_data(lab, fake):
    mark = b"0123456789abcdef0123456789abcdef01234567"
    fake.databases = {0: {"a": "1", "b": mark[:39] + b"x", "c": mark[:20] * 3 + mark[:39]}}

    def tricky(connection):
        return b"$EOF:%s\r\n%s%s" % (mark, fake.rdb(connection), mark)
    fake.make_payload = tricky
    _, node = synced(lab, fake)
    assert node("GET", "b") == mark[:39] + b"x"


def test_stream_in_the_same_segment_as_the_payload(lab, fake):
    fake.eof_payload = False
    fed = encode("SELECT", 0) + encode("SET", "same", "segment")
    after = encode("INCR", "after")

    def joined(connection):
        payload = fake.payload(connection)
        if connection.rdb_only:
            return payload
        fake.history += fed
        fake.databases = {0: {**DATA[0], "same": "segment"}}     # for the snapshots that come later
        connection.sent = fake.offset
        return payload + fed
    fake.make_payload = joined
    fake.on["INFO"] = b"-ERR no info here\r\n"
    _, node = follower(lab, fake)
    wait_for(lambda: node("GET", "same") == b"segment", 20, "the first write behind the payload")
    fake.feed(after)
    wait_for(lambda: node.offset() == fake.offset, 10, "the exact offset")
    assert node("GET", "after") == b"1"


@pytest.mark.parametrize("junk", [b"-ERR BGSAVE failed, replication can't continue\r\n", b"$abc\r\n", b"+OK\r\n",
                                  b"$0\r\n", b"$-5\r\n", b"$EOF:short\r\n", b"$10\r\nNOTANRDB!!"])
def test_junk_instead_of_a_payload(lab, fake, junk):
    left = [2]

    def odd(connection):
        if not left[0]:
            return fake.payload(connection)
        left[0] -= 1
        connection.send(junk)
        return CLOSE
    fake.make_payload = odd
    fake.on["INFO"] = b"-ERR no info here\r\n"
    _, node = follower(lab, fake)
    wait_filled(fake, node, 30)
    assert left[0] == 0


def test_acks_every_second_and_exact_at_getack(lab, fake):
    instance, node = synced(lab, fake)
    wait_for(lambda: fake.last_ack() == fake.offset, 5, "an exact ACK")
    count, since = len(fake.acks), time.monotonic()
    wait_for(lambda: len(fake.acks) >= count + 3, 5, "three more ACKs in five seconds, nothing else going on")
    fake.write("SET", "k", "v")
    before = fake.offset
    fake.feed(GETACK)
    wait_for(lambda: any(offset == before for _, offset, _ in fake.acks), 3,
             "the ACK that answers GETACK, without the 37 bytes of GETACK itself")
    wait_for(lambda: fake.last_ack() == fake.offset, 3, "the next ACK, with these 37 bytes")
    offsets = [offset for _, offset, _ in fake.acks]
    assert offsets == sorted(offsets) and offsets[-1] == fake.offset
    wait_for(lambda: node.offset() == fake.offset, 5, "the node to stand there too")
    assert time.monotonic() > since and instance.offset() == fake.offset


def test_two_getacks_in_one_segment(lab, fake):
    _, node = synced(lab, fake)
    start = fake.offset
    fake.feed(PING + GETACK + GETACK)
    wait_for(lambda: {start + 14, start + 14 + 37} <= {offset for _, offset, _ in fake.acks}, 5,
             "one ACK before each GETACK")
    wait_for(lambda: node.offset() == fake.offset, 5, "the node to stand at the end")


def test_nothing_but_acks_is_ever_sent_on_the_link(lab, fake):
    _, node = synced(lab, fake)
    link = next(c.number for c in fake.links())
    fake.feed(PING + encode("SET", "k", "v") + encode("NOSUCHCOMMAND", "x") + encode("EVAL", "x", 0) + GETACK)
    wait_for(lambda: fake.last_ack() == fake.offset, 5, "the ACK of all that")
    words = [w for number, w in fake.commands if number == link]
    after = words[[w[0].upper() for w in words].index(b"PSYNC") + 1:]
    assert after and all(w[:2] == [b"REPLCONF", b"ACK"] for w in after), after


def test_a_newline_in_the_stream_is_counted_like_any_byte(lab, fake):
    _, node = synced(lab, fake)
    fake.feed(b"\n" + encode("SELECT", 0) + encode("SET", "k", "v"))
    wait_for(lambda: node("GET", "k") == b"v" and node.offset() == fake.offset, 10, "equal offsets")


def test_a_stream_cut_at_every_kind_of_place(lab, fake):
    """In a command, in CRLF, inside MULTI: the link resumes and the node ends with everything, once."""
    _, node = synced(lab, fake)
    fake.write("SELECT", 0)
    batch = encode("MULTI") + encode("INCR", "n") + encode("RPUSH", "l", "x" * 30) + encode("EXEC")
    for cut_at in (1, 2, 3, 10, len(encode("MULTI")), len(encode("MULTI")) + 9, len(batch) // 2, len(batch) - 1):
        before = fake.syncs["partial"]
        fake.feed(batch[:cut_at])
        fake.cut()
        fake.feed(batch[cut_at:])
        wait_for(lambda b=before: fake.syncs["partial"] > b, 10, "the link to resume")
    wait_for(lambda: node.offset() == fake.offset, 10, "equal offsets")
    assert (node("GET", "n"), node("LLEN", "l")) == (b"8", 8)
    resumed = [int(words[2]) for words in fake.received("PSYNC") if words[1] != b"?"]
    assert resumed == sorted(resumed)


@pytest.mark.parametrize("bare", [True, False])
def test_continue_with_and_without_an_id(lab, fake, bare):
    instance, node = synced(lab, fake)
    before, full = fake.syncs["partial"], fake.syncs["full"]
    if bare:
        def answer(connection, words):
            return fake.resume(connection, int(words[2]), b"+CONTINUE\r\n")
        fake.answers = [answer]
        fake.cut()
    else:
        fake.promote()
    wait_for(lambda: fake.syncs["partial"] > before and instance.link_up(), 10, "the new link")
    fake.write("SELECT", 0)
    fake.write("SET", "k", "v")
    wait_for(lambda: node("GET", "k") == b"v" and node.replid() == fake.replid, 10, "the node to follow")
    assert node.offset() == fake.offset
    assert fake.syncs["full"] == full


def test_full_resync_over_a_new_history(lab, fake):
    """The upstream lost its history but has more data than before: everybody below gets the new dataset."""
    instance, node = synced(lab, fake)
    with fake.lock:
        fake.replid, fake.base = "c" * 40, 9000
        fake.history.clear()
        fake.databases = {0: {"a": "1", "new": "y" * 9000}}
        fake.cut()
    wait_for(lambda: node("GET", "new") is not None and node.replid() == "c" * 40, 20, "the new dataset")
    assert instance.offset() == fake.offset == node.offset()


def test_cut_after_fullresync_keeps_the_old_data_readable(lab, fake):
    """A transfer of a new history that never completes: what is below keeps its data and its link."""
    instance, node = synced(lab, fake)
    if lab.subject == "instance":  # a fresh read is proven once the primary has said how far it is
        wait_for(lambda: node.address.encode() in instance("SIDESTREAM", "EXPLAIN", "GET", "a"), 10, "proven reads")
    with fake.lock:
        fake.replid, fake.base = "d" * 40, 50000
        fake.history.clear()
        fake.on["INFO"] = b"-ERR no info here\r\n"

        def half(connection):
            connection.send(fake.payload(connection)[:60])
            return CLOSE
        fake.make_payload = half
        fake.cut()
    wait_for(lambda: fake.syncs["full"] + fake.syncs["filtered"] >= 3, 20, "broken transfers")
    stays(lambda: node("GET", "a") == b"1" and instance("GET", "a") == b"1", 1, "old data stays readable")
    fake.make_payload = None
    wait_for(lambda: node.replid() == "d" * 40, 20, "the new history at last")


def test_a_stalled_payload_is_given_up_after_repl_timeout(lab, fake):
    stalled = []

    def stall(connection):
        if stalled:
            return fake.payload(connection)
        stalled.append(connection.number)
        connection.send(fake.payload(connection)[:60])
        return SILENCE
    fake.make_payload = stall
    fake.on["INFO"] = b"-ERR no info here\r\n"
    _, node = follower(lab, fake, repl_timeout=2)
    wait_filled(fake, node, 25)
    assert stalled


def test_the_first_ack_is_repeated(lab, fake):
    """A diskless primary may miss the first ACK: the stream starts at a later one."""
    seen = []

    def deaf(connection, words):
        if words[1].lower() == b"ack" and connection.sent is not None:
            seen.append(connection.number)
            if seen.count(connection.number) == 1:
                return SILENCE
        return fake._replconf(connection, words)
    fake.on["REPLCONF"] = deaf
    _, node = follower(lab, fake)
    wait_for(lambda: seen, 20, "a first ACK")
    node.wait_link()      # its dataset is a fixed one: what is written before that would be missing from it
    fake.write("SELECT", 0)
    fake.write("SET", "late", "start")
    wait_for(lambda: node("GET", "late") == b"start", 15, "the stream in spite of the missed ACK")
