"""Any command gives, through an instance, the reply that a stock server gives: byte for byte, RESP2 and RESP3."""

import shlex

import pytest

import command_corpus
from harness import wait_for
from resp_client import same_bytes, same_reply
from server_corpus import SERVER_CORPUS

CORPUS = {**command_corpus.CORPUS, **SERVER_CORPUS}


def commands(text):
    """One command per line, words as the shell splits them; \\n inside double quotes is a newline."""
    return [[word.replace("\\n", "\n") for word in shlex.split(line)] for line in text.splitlines()]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", CORPUS)
def test_replies_equal_stock(sides, name, protocol):
    expected, actual = sides
    if protocol == 3:
        for side in sides:
            side("HELLO", 3)
    different = []
    for command in commands(CORPUS[name]):
        want, got = expected.raw(*command), actual.raw(*command)
        if want != got:
            different.append(f"{command}: stock {want[:300]!r}, instance {got[:300]!r}")
    assert not different, "\n".join(different)


@pytest.mark.parametrize("name", ["strings", "keys", "lists", "hashes", "sorted sets", "databases", "transactions"])
def test_pipelined_replies_equal_stock(sides, name):
    """All at once: reads go to replicas and writes to the primary, the replies come back in order."""
    expected, actual = sides
    batch = [c for c in commands(CORPUS[name]) if c[0] not in ("WAIT", "DEBUG")]
    assert actual.pipeline_raw(batch) == expected.pipeline_raw(batch)


def test_the_corpus_is_large_enough():
    assert sum(len(text.splitlines()) for text in CORPUS.values()) >= 400


PROTOCOL_ERRORS = {
    "bad multibulk length": b"*abc\r\n", "huge multibulk length": b"*99999999999\r\n",
    "expected dollar": b"*1\r\n+PING\r\n", "negative bulk": b"*1\r\n$-1\r\n", "bad bulk": b"*1\r\n$abc\r\n",
    "huge bulk": b"*1\r\n$999999999999\r\n", "unbalanced quotes": b"GET \"abc\r\n", "single quotes": b"GET 'a'b\r\n",
    "too big inline": b"x" * 70000, "too big count": b"*" + b"1" * 70000, "too big bulk count":
    b"*1\r\n$" + b"1" * 70000, "leading zero": b"*01\r\n$4\r\nPING\r\n", "second command bad":
    b"*1\r\n$4\r\nPING\r\n*1\r\n!x\r\n", "space in count": b"* 1\r\n",
}


@pytest.mark.parametrize("name", PROTOCOL_ERRORS)
def test_protocol_errors_equal_stock_and_close_only_that_connection(pair, sides, name):
    bystander = pair.front.client()
    bystander("SET", "bystander", "here")
    for side in sides:
        side.send_raw(PROTOCOL_ERRORS[name])
    expected, actual = (side.read_until_close() for side in sides)
    assert actual == expected
    assert bystander("GET", "bystander") == b"here"


HARMLESS = {
    "empty lines": b"\r\n\r\n\n PING\r\n", "empty arrays": b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n",
    "bare newline inline": b"PING\n", "quoted inline": b"SET 'a b' \"x\\x41\\n\"\r\nPING\r\n",
    "spaces": b"   PING   \r\n", "tabs": b"\tECHO\tx\r\n", "lower case": b"*1\r\n$4\r\npInG\r\n",
    "empty name": b"*1\r\n$0\r\n\r\n", "binary": b"*2\r\n$4\r\nECHO\r\n$6\r\n\0\r\n\xff*1\r\n",
    "unknown with bytes": b"*2\r\n$3\r\nF\0O\r\n$2\r\n\r\n\r\n",
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("size", [1 << 20, 1, 3])
def test_odd_but_legal_requests(sides, name, size):
    expected, actual = sides
    for side in sides:
        data = HARMLESS[name] + b"*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n"
        for start in range(0, len(data), size):
            side.send_raw(data[start:start + size])
    while True:
        want, got = expected.read_raw(), actual.read_raw()
        assert got == want
        if want == b"$3\r\nend\r\n":
            return


def test_cross_protocol_attack_closes_silently(sides):
    for side in sides:
        side.send_raw(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    expected, actual = (side.read_until_close() for side in sides)
    assert actual == expected == b""


def test_quit_ends_a_pipeline(sides):
    for side in sides:
        side.send_raw(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n")
    expected, actual = (side.read_until_close() for side in sides)
    assert actual == expected


def test_client_reply_modes(sides):
    expected, actual = sides
    same_bytes(expected, actual, b"CLIENT REPLY OFF\r\nPING\r\nSET k v\r\nCLIENT REPLY ON\r\nGET k\r\n", 2)
    same_bytes(expected, actual, b"CLIENT REPLY SKIP\r\nGET k\r\nGET k\r\n", 1)
    same_bytes(expected, actual, b"SET k v2\r\nCLIENT REPLY SKIP\r\nSET k v3\r\nGET k\r\nPING\r\n", 3)
    same_reply(expected, actual, "CLIENT", "REPLY", "NOSUCH")


def test_large_values_and_many_arguments(sides):
    expected, actual = sides
    value = bytes(range(256)) * 20000
    same_reply(expected, actual, "SET", "big", value)
    same_reply(expected, actual, "GET", "big")
    words = [word for n in range(20000) for word in (f"k{n}", "v")]
    same_reply(expected, actual, "MSET", *words)
    same_reply(expected, actual, "MGET", *words[::2])
    same_reply(expected, actual, "DEL", *words[::2])


def test_mixed_pipeline_keeps_its_order(sides):
    """Answered here, by the primary, by a replica, blocking, transactional: one after the other."""
    expected, actual = sides
    batch = []
    for n in range(200):
        batch += [("SET", f"k{n % 7}", n), ("PING",), ("GET", f"k{n % 7}"), ("ECHO", n), ("GET", "never-written"),
                  ("INCR", "n"), ("GET", "n"), ("CLIENT", "GETNAME"), ("NOSUCH",), ("MGET", "k1", "k2"), ("SELECT", 0)]
        if n % 20 == 0:
            batch += [("RPUSH", "l", n), ("BLPOP", "l", 1), ("MULTI",), ("INCR", "n"), ("GET", "n"), ("EXEC",),
                      ("EVAL", "return redis.call('get', KEYS[1])", 1, "n"), ("SELECT", n % 3)]
    assert actual.pipeline_raw(batch) == expected.pipeline_raw(batch)


def test_hello(pair):
    for protocol in ((), (2,), (3,)):
        expected, actual = pair.clients()
        want, got = expected("HELLO", *protocol), actual("HELLO", *protocol)
        if isinstance(want, list):
            want, got = dict(zip(want[::2], want[1::2])), dict(zip(got[::2], got[1::2]))
        assert list(got) == list(want)
        assert isinstance(got.pop(b"id"), int) and want.pop(b"id")
        assert got == want


def test_switching_protocols_at_run_time(sides):
    expected, actual = sides
    for side in sides:
        side("HSET", "h", "f", "v")
    for version in (3, 2, 3, 2):
        for side in sides:
            side("HELLO", version)
        for command in (("HGETALL", "h"), ("GET", "nosuch"), ("ZADD", "z", "1.5", "m"), ("ZSCORE", "z", "m"),
                        ("BLPOP", "nosuch", "0.01"), ("CONFIG", "GET", "databases")):
            same_reply(expected, actual, *command)
    for side in sides:
        side("HELLO", 3)
    same_reply(expected, actual, "RESET")
    same_reply(expected, actual, "GET", "nosuch")


def test_select_belongs_to_each_client(pair, sides):
    front = pair.front
    clients = [front.client() for _ in range(6)]
    for number, client in enumerate(clients):
        client("SELECT", number)
        client("SET", "mine", number)
    for _ in range(3):
        for number, client in enumerate(clients):
            assert client("GET", "mine") == b"%d" % number
    assert sides[1]("GET", "mine") == b"0"
    wait_for(lambda: front("DBSIZE") == 1, 5, "one key in database 0")
