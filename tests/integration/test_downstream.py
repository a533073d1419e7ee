"""The downstream side's handshake and decisions, with a scripted replica, each compared with a stock primary.

`front` is a stock primary in the first run of each test and an instance in front of one in the second.
"""

import pytest

from fake_replica import FakeReplica
from harness import EMPTY_REPLID, stays, wait_for
from resp_client import RespClient, encode, same_reply

SOME_ID = "0123456789abcdef" * 2 + "01234567"


def attach(front, **options):
    replica = FakeReplica(front.port, options.pop("listening_port", 7777), **options)
    replica.full_sync()
    wait_for(lambda: replica.ack() or online(front, 7777) or online(front, 0), 10, "the scripted replica to be online")
    return replica


def online(front, port):
    lines = [v for n, v in front.info().items() if n.startswith("slave") and n[5:].isdigit()]
    return any(f"port={port},state=online" in line for line in lines)


REPLCONF = [
    ("listening-port", "7777"), ("listening-port", "x"), ("listening-port",), (), ("ip-address", "10.0.0.1"),
    ("ip-address", "x" * 300), ("capa", "eof"), ("capa", "eof", "capa", "psync2"), ("capa", "unheard-of"),
    ("capa", "eof", "capa"), ("capa", "rdb-channel-repl"), ("rdb-only", "1"), ("rdb-only", "0"), ("rdb-only", "2"),
    ("rdb-only", "x"), ("rdb-filter-only", ""), ("rdb-filter-only", "keys"), ("uuid", "a" * 36),
    ("repl-compression", "1"), ("nonsense", "1"),
    ("rdb-channel", "1"), ("set-rdb-client-id", "1"), ("main-ch-client-id", "1"), ("set-cluster-node-id", "x"),
    ("listening-port", "1", "nonsense", "2"), ("LISTENING-PORT", "1"), ("getack",), ("CAPA", "EOF"),
]


@pytest.mark.parametrize("words", REPLCONF, ids=lambda words: "_".join(words)[:40] or "none")
def test_replconf_answers(lab, front, words):
    """The answer table. Knowing differences are tested below."""
    stock = lab.server()
    with stock.client() as expected, front[0].client() as actual:
        same_reply(expected, actual, "REPLCONF", *words)
        same_reply(expected, actual, "PING")


def test_replconf_answers_that_differ_from_stock_7(lab, binary):
    """`version` gets +OK as from Valkey; a snapshot of the functions alone is not offered, and that is said."""
    instance = lab.instance([lab.server()])
    assert instance.raw("REPLCONF", "version", "8.0.1") == b"+OK\r\n"
    assert instance.raw("REPLCONF", "rdb-filter-only", "functions").startswith(b"-ERR Unsupported rdb-filter-only")


@pytest.mark.parametrize("words", [("ACK", "5"), ("ack", "0", "fack", "3"), ("GETACK", "*")])
def test_replconf_without_an_answer(front, words):
    with front[0].client() as client:
        client.send("REPLCONF", *words)
        assert client("PING") == "PONG"


def handshake_bytes():
    return (encode("PING") + encode("REPLCONF", "listening-port", 7777) + encode("REPLCONF", "ip-address", "10.1.1.1")
            + encode("REPLCONF", "capa", "eof", "capa", "psync2"))


def test_handshake_in_one_segment_and_byte_by_byte(front):
    for size in (10000, 1, 2, 17):
        with front[0].client() as client:
            data = handshake_bytes()
            for start in range(0, len(data), size):
                client.send_raw(data[start:start + size])
            assert [client.read_raw() for _ in range(4)] == [b"+PONG\r\n"] + [b"+OK\r\n"] * 3


def test_announced_address_is_shown(front):
    replica = FakeReplica(front[0].port, 7777)
    assert replica.raw("REPLCONF", "ip-address", "10.1.1.1") == b"+OK\r\n"
    replica.full_sync()
    wait_for(lambda: replica.ack() or "ip=10.1.1.1,port=7777,state=online" in str(front[0].info()), 10, "the line")
    wait_for(lambda: [b"10.1.1.1", b"7777"] in [slave[:2] for slave in front[0]("ROLE")[2]], 5, "ROLE to name it")


def test_psync_that_is_no_psync(lab, front):
    """Arity and offset errors leave the connection an ordinary one."""
    stock = lab.server()
    for words in (("PSYNC", "?", "abc"), ("PSYNC", "?"), ("PSYNC",), ("SYNC", "x"), ("PSYNC", SOME_ID, ""),
                  ("PSYNC", SOME_ID, "1.5"), ("REPLCONF", "capa")):
        with stock.client() as expected, front[0].client() as actual:
            same_reply(expected, actual, *words)
            same_reply(expected, actual, "PING")


def test_filter_without_eof_is_refused(lab, front):
    stock = lab.server()
    with stock.client() as expected, front[0].client() as actual:
        for words in (("REPLCONF", "rdb-filter-only", ""), ("PSYNC", "?", "-1"), ("PING",)):
            same_reply(expected, actual, *words)


def test_psync_failover_never_promotes(front, subject):
    attached = attach(front[0])
    client = FakeReplica(front[0].port)
    client.send("PSYNC", attached.replid, attached.offset + 1, "FAILOVER")
    line = client.read_line()
    assert line.startswith(b"-ERR"), line
    if subject == "stock":
        assert line == b"-ERR PSYNC FAILOVER can't be sent to a master."
    assert front[0].replid() == attached.replid


def replies_to_psync(front, replid, offset):
    """CONTINUE, FULLRESYNC or the error of one PSYNC."""
    client = FakeReplica(front.port, 7778)
    try:
        return client.psync(replid, offset).split(b" ")[0]
    finally:
        client.close()


def matrix(front, info):
    """H16: the verdicts around every edge of what the backlog holds."""
    replid, offset = info["master_replid"], int(info["master_repl_offset"])
    first = int(info["repl_backlog_first_byte_offset"])
    asked = {"first-1": first - 1, "first": first, "middle": (first + offset) // 2, "offset": offset,
             "offset+1": offset + 1, "zero": 0, "negative": -1}
    verdicts = {name: replies_to_psync(front, replid, number) for name, number in asked.items()}
    verdicts["upper case"] = replies_to_psync(front, replid.upper(), offset)
    verdicts["foreign"] = replies_to_psync(front, SOME_ID, offset)
    verdicts["question mark"] = replies_to_psync(front, "?", offset)
    verdicts["zero id"] = replies_to_psync(front, EMPTY_REPLID, 1)
    verdicts["short id"] = replies_to_psync(front, replid[:39], offset)
    return verdicts


YES, NO = b"+CONTINUE", b"+FULLRESYNC"


def test_acceptance_matrix(front):
    replica = attach(front[0])
    for number in range(20):
        front[0]("SET", "k", number)
    replica.wait_offset(front[1].offset())
    verdicts = matrix(front[0], front[0].info())
    assert verdicts == {"first-1": NO, "first": YES, "middle": YES, "offset": YES, "offset+1": YES, "zero": NO,
                        "negative": NO, "upper case": YES, "foreign": NO, "question mark": NO, "zero id": NO,
                        "short id": NO}


def test_acceptance_with_a_second_id(lab, front):
    """After a promotion the old id is good up to and including second_repl_offset."""
    top = lab.server(repl_ping_replica_period=3600)
    top("SET", "k", "v")
    assert front[0]("REPLICAOF", "127.0.0.1", top.port) == "OK"
    front[0].wait_link(20)
    top("SET", "k2", "v")
    wait_for(lambda: front[0].offset() == top.offset(), 10, "the front to be level")
    old = top.replid()
    assert front[0]("REPLICAOF", "NO", "ONE") == "OK"
    wait_for(lambda: front[0].info()["master_replid2"] == old, 10, "the old id as replid2")
    front[0]("SET", "k3", "v")
    info = front[0].info()
    second = int(info["second_repl_offset"])
    assert second == top.offset() + 1
    verdicts = [replies_to_psync(front[0], old, second + step) for step in (-1, 0, 1)]
    assert verdicts == [YES, YES, NO]
    client = FakeReplica(front[0].port)
    assert client.psync(old, second) == b"+CONTINUE " + info["master_replid"].encode()


def test_a_replica_that_is_ahead(front, subject):
    """Stock refuses it; an instance that merely lags holds the reply, alive by newlines, until it has caught up."""
    attach(front[0])
    info = front[0].info()
    client = FakeReplica(front[0].port, 7778, timeout=20)
    ahead = int(info["master_repl_offset"]) + 200
    client.send("PSYNC", info["master_replid"], ahead + 1)
    if subject == "stock":
        assert client.read_psync_reply(ahead + 1).startswith(NO)
        return
    assert client.read_bytes(2) == b"\n\n", "keepalives, one a second"
    for number in range(10):
        front[0]("SET", f"catching-up-{number}", "x")
    wait_for(lambda: front[0].offset() >= ahead, 10, "the front to pass that offset")
    assert client.read_psync_reply(ahead + 1) == b"+CONTINUE " + info["master_replid"].encode()
    client.wait_offset(front[1].offset())


def test_a_held_replica_that_leaves_is_forgotten(binary, lab):
    primary = lab.server(repl_ping_replica_period=3600)
    instance = lab.instance([primary])
    attach(instance)
    info = instance.info()
    client = FakeReplica(instance.port, 7778)
    client.send("PSYNC", info["master_replid"], int(info["master_repl_offset"]) + 10 ** 6)
    assert client.read_bytes(1) == b"\n"
    client.close()
    wait_for(lambda: "7778" not in str(instance.status()["replicas"]), 10, "the held replica to be gone")
    assert instance.counters()["full_syncs"] == 1


def test_inline_psync_and_mixed_case(front):
    attach(front[0])
    info = front[0].info()
    for line in ("PSYNC %s %s\r\n", "psync %s %s\r\n", "pSyNc %s %s\n"):
        with RespClient(front[0].port) as client:
            client.send_raw((line % (info["master_replid"], int(info["master_repl_offset"]) + 1)).encode())
            assert client.read_raw().startswith(b"+CONTINUE")


@pytest.mark.parametrize("capa, expected", [(("eof", "psync2"), b"+CONTINUE %s"), (("eof",), b"+CONTINUE"),
                                            ((), b"+CONTINUE"), (("psync2",), b"+CONTINUE %s")])
def test_continue_names_the_id_only_for_psync2(front, capa, expected):
    attach(front[0])
    info = front[0].info()
    client = FakeReplica(front[0].port, 7778, capa)
    line = client.psync(info["master_replid"], int(info["master_repl_offset"]) + 1)
    assert line == (expected % info["master_replid"].encode() if b"%s" in expected else expected)


def test_a_second_psync_on_an_attached_link_is_ignored(front):
    replica = attach(front[0])
    replica.send("PSYNC", "?", "-1")
    replica.send("SYNC")
    front[0]("SET", "k", "v")
    stream = replica.wait_offset(front[1].offset())
    assert stream.endswith(encode("SET", "k", "v")) and b"FULLRESYNC" not in stream
    assert front[0].info()["connected_slaves"] == "1"


def test_a_fresh_primary_turned_replica(lab, front):
    """It asks with its own random id: a full sync, not an error."""
    client = FakeReplica(front[0].port)
    assert client.psync("f" * 40, 1).startswith(NO)
    server = lab.server()
    server("SET", "mine", "x")
    server.replicaof(front[0])
    server.wait_link()
    wait_for(lambda: server("EXISTS", "mine") == 0, 10, "its own data to be gone")


@pytest.mark.parametrize("capa, kinds", [(("eof", "psync2"), ("eof", "len")), (("psync2",), ("len",)), ((), ("len",))])
def test_form_of_the_payload(front, capa, kinds):
    """$len for whoever does not understand $EOF; nothing after the payload before the first ACK."""
    front[0]("SET", "k", "v")
    replica = FakeReplica(front[0].port, 7777, capa)
    assert replica.psync("?", -1).startswith(NO)
    payload = replica.read_payload()
    assert payload.kind in kinds
    front[0]("SET", "k", "v2")
    if payload.kind == "eof":
        assert replica.silent_for(1.5), "silence until the first ACK"
    replica.ack()
    stream = replica.wait_offset(front[1].offset())
    assert stream.endswith(encode("SET", "k", "v2")) and stream.count(b"v2") == 1


def test_early_and_repeated_acks_start_the_stream_once(front):
    replica = FakeReplica(front[0].port, 7777)
    assert replica.psync("?", -1).startswith(NO)
    replica.ack()
    replica.read_payload()
    for _ in range(3):
        replica.ack()
    front[0]("SET", "k", "v")
    wait_for(lambda: replica.ack() or replica.pump() or replica.offset >= front[1].offset(), 10, "the stream")
    assert bytes(replica.stream).count(encode("SET", "k", "v")) == 1
    assert replica.offset == front[1].offset()


@pytest.mark.parametrize("data", [b"\n\n\n", b"\n" + encode("REPLCONF", "ACK", 1), b"REPLCONF ACK 1\r\n",
                                  encode("REPLCONF", "ACK", 1) * 5, encode("REPLCONF", "ACK", 1, "FACK", 0)],
                         ids=["newlines", "newline+ack", "inline", "several", "fack"])
def test_forms_of_ack(front, data):
    replica = attach(front[0])
    replica.send_raw(data)
    replica.send_raw(b"\n")
    front[0]("SET", "k", "v")
    replica.wait_offset(front[1].offset())
    assert online(front[0], 7777)
    replica.ack()
    wait_for(lambda: f"offset={replica.offset}," in front[0].info()["slave0"], 5, "the ACK in INFO")


def test_ack_split_everywhere(front):
    replica = attach(front[0])
    front[0]("SET", "k", "v")
    replica.wait_offset(front[1].offset())
    for byte in b"\n" + encode("REPLCONF", "ACK", replica.offset):
        replica.send_raw(bytes([byte]))
    wait_for(lambda: f"offset={replica.offset}," in front[0].info()["slave0"], 5, "the ACK in INFO")


def test_a_silent_replica_is_dropped_after_repl_timeout(lab, subject):
    primary = lab.server(repl_ping_replica_period=3600, repl_timeout=2)
    front = primary if subject == "stock" else lab.instance([primary], repl_timeout=2)
    replica, lively = attach(front), attach(front, listening_port=7777)
    begin = len(replica.stream)
    wait_for(lambda: lively.send_raw(b"\n") or replica.closed_within(0.2), 12, "the silent one to be dropped")
    lively.ack()
    front("SET", "k", "v")
    lively.wait_offset(primary.offset())
    assert len(replica.stream) == begin


def test_clients_are_served_while_replicas_come_and_go(front):
    replicas = [FakeReplica(front[0].port, 7000 + n) for n in range(10)]
    for replica in replicas[:5]:
        replica.send("PSYNC", "?", "-1")
    with front[0].client() as client:
        for number in range(200):
            assert client("INCR", "n") == number + 1
            if number % 20 == 0:
                replicas.pop().close()
    stays(lambda: front[0]("PING") == "PONG", 0.3, "the front to answer")
    wait_for(lambda: front[0].info()["connected_slaves"] == "0", 15, "no replica to be left")


def test_a_node_that_connects_again_replaces_its_old_link(lab, binary):
    """Same address, two connections: the newer one counts, the half-open one is closed."""
    instance = lab.instance([lab.server()])
    old = attach(instance)
    new = FakeReplica(instance.port, 7777)
    assert new.psync(old.replid, old.offset + 1).startswith(YES)
    assert old.closed_within(5)
    assert instance.info()["connected_slaves"] == "1"


def test_newlines_alone_keep_a_loading_replica(lab, subject):
    """It loads for longer than repl-timeout and says so by newlines only; the stream starts with its first ACK."""
    primary = lab.server(repl_ping_replica_period=3600, repl_timeout=2)
    front = primary if subject == "stock" else lab.instance([primary], repl_timeout=2)
    replica = FakeReplica(front.port, 7777)
    assert replica.psync("?", -1).startswith(NO)
    replica.read_payload()
    for _ in range(12):
        replica.send_raw(b"\n")
        assert replica.silent_for(0.3), "nothing comes, and nobody closes"
    front("SET", "k", "v")
    replica.ack()
    replica.wait_offset(primary.offset())


def test_no_command_of_an_attached_replica_is_answered(front):
    replica = attach(front[0])
    replica.send_raw(encode("REPLCONF", "listening-port", 1) + encode("REPLCONF", "ACK", replica.offset))
    for command in (("PING",), ("GET", "k"), ("NOSUCH",)):
        try:
            replica.send(*command)
        except OSError:
            break                            # closing such a link is right as well
    front[0]("SET", "k", "v")
    replica.closed_within(0.5)
    assert b"PONG" not in replica.stream and b"ERR" not in replica.stream and b"+OK" not in replica.stream
    assert front[0]("GET", "k") == b"v"


def test_psync_pipelined_behind_the_handshake(front, subject):
    """Stock refuses that; an instance takes it. Nobody loses the bytes or hangs."""
    client = RespClient(front[0].port)
    client.send_raw(handshake_bytes() + encode("PSYNC", "?", "-1"))
    assert [client.read_raw() for _ in range(4)] == [b"+PONG\r\n"] + [b"+OK\r\n"] * 3
    reply = client.read_raw()
    assert reply.startswith(b"-ERR SYNC and PSYNC are invalid" if subject == "stock" else (b"+FULLRESYNC", b"-ERR"))
