"""Values of any size, in bounded memory: requests and replies that pass through while they arrive.

Stock servers hold the values; what is compared is every byte, and the instance's resident memory. SIDESTREAM_LARGE=1
takes the full sizes (512 MB values, a list of 1 GB); without it they are small enough for every run, and still far
above what the instance may hold.
"""

import hashlib
import os
import threading

import pytest
from harness import wait_for
from resp_client import ReplyError, encode

FULL = os.environ.get("SIDESTREAM_LARGE") == "1"
MB = 1 << 20
VALUE = (512 if FULL else 48) * MB
LIST_ITEMS = 1024 if FULL else 64  # of 1 MB each
GROWTH = 32 * MB                   # what the instance may grow by, whatever passes through
TIMEOUT = 300.0 if FULL else 60.0


def pattern(size, seed=0):
    """Bytes that repeat only after a prime number of them, so that a lost or doubled chunk shows."""
    unit = bytes((i * 7 + i // 251 + seed) % 256 for i in range(65521))
    return (unit * (size // len(unit) + 1))[:size]


def resident(instance):
    with open(f"/proc/{instance.process.pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmHWM"].split()[0]) * 1024


def group(lab, nodes=1, **config):
    """A small backlog, since it holds what was written."""
    servers = lab.servers(nodes)
    instance = lab.instance(servers, repl_backlog_size="1mb", **config)
    return servers, instance


def client_of(instance, **options):
    return instance.client(timeout=TIMEOUT, **options)


def read_bulk(client):
    """A bulk reply, hashed while it arrives; its length and hash."""
    head = b""
    while not head.endswith(b"\r\n"):
        head += client.read_bytes(1)
    if not head.startswith(b"$"):
        raise ReplyError(head[1:-2].decode())
    length = left = int(head[1:])
    digest = hashlib.sha256()
    while left > 0:
        chunk = client.read_bytes(min(left, MB))
        digest.update(chunk)
        left -= len(chunk)
    assert client.read_bytes(2) == b"\r\n"
    return length, digest.hexdigest()


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("protocol", [2, 3])
def test_one_value_there_and_back(lab, protocol):
    (server,), instance = group(lab)
    value = pattern(VALUE)
    with client_of(instance, protocol=protocol) as client:
        before = resident(instance)
        client.send("SET", "k", value)
        assert client.read() == "OK"
        with server.client(timeout=TIMEOUT) as direct:
            assert direct("STRLEN", "k") == len(value)
        for _ in range(2):  # over a shared connection, then over one of its own
            client.send("GET", "k")
            assert read_bulk(client) == (len(value), sha(value))
        client.send("SETRANGE", "k", 0, b"tail")
        client.send("GETRANGE", "k", -MB, -1)
        assert client.read() == len(value)
        assert read_bulk(client) == (MB, sha(value[-MB:]))
        assert resident(instance) - before < GROWTH


def test_append_and_every_place_where_a_large_one_may_stand(lab):
    (server,), instance = group(lab)
    part = pattern(8 * MB)
    with client_of(instance) as client:
        before = resident(instance)
        requests = [("APPEND", "a", part), ("GET", "small"), ("APPEND", "a", part), ("INCR", "n"), ("MULTI",),
                    ("APPEND", "a", part), ("GETRANGE", "a", 0, 5 * MB), ("INCR", "n"), ("EXEC",), ("GET", "n"),
                    ("CLIENT", "REPLY", "SKIP"), ("GETRANGE", "a", 0, 9 * MB), ("SET", "a", part, "NONSENSE"),
                    ("EVAL", "return redis.call('APPEND', KEYS[1], ARGV[1])", 1, "a", part), ("STRLEN", "a"),
                    ("MSET", "x", part, "y", part), ("MGET", "x", "n"), ("GETDEL", "y"), ("EXISTS", "x", "y")]
        sender = threading.Thread(target=lambda: [client.send(*request) for request in requests])
        sender.start()
        size = len(part)
        expected = [size, None, 2 * size, 1, "OK", "QUEUED", "QUEUED", "QUEUED",
                    [3 * size, (part + part)[:5 * MB + 1], 2], b"2", "ERR syntax error", 4 * size, 4 * size, "OK",
                    [part, b"2"], part, 1]
        for number, wanted in enumerate(expected):
            try:
                value = client.read()
            except ReplyError as error:
                value = str(error)
            assert value == wanted, number
        sender.join()
        assert server("STRLEN", "a") == 4 * size
        assert resident(instance) - before < GROWTH


def test_a_slow_reader_of_a_huge_list_disturbs_nobody(lab):
    (server,), instance = group(lab)
    item = pattern(MB)
    with server.client(timeout=TIMEOUT) as direct:
        direct("EVAL", "for i = 1, tonumber(ARGV[2]) do redis.call('RPUSH', KEYS[1], ARGV[1]) end", 1, "list", item,
               LIST_ITEMS)
    with client_of(instance) as slow, client_of(instance) as other:
        before = resident(instance)
        slow.send("LRANGE", "list", 0, -1)
        assert slow.read_bytes(len(f"*{LIST_ITEMS}\r\n")) == f"*{LIST_ITEMS}\r\n".encode()
        for number in range(LIST_ITEMS):
            assert read_bulk(slow) == (MB, sha(item))
            if number % 16 == 0:
                for each in range(20):
                    assert other("INCR", "n") == number // 16 * 20 + each + 1
                    assert other("GET", "n") == b"%d" % (number // 16 * 20 + each + 1)
        assert slow("PING") == "PONG"
        assert resident(instance) - before < GROWTH


def test_many_clients_with_values_of_16_mb(lab):
    servers, instance = group(lab, nodes=2)
    size, count = 16 * MB, 8
    failures = []

    def work(number):
        try:
            value = pattern(size, number)
            with client_of(instance) as client:
                client.send("SET", f"k{number}", value)
                assert client.read() == "OK"
                for _ in range(2):
                    client.send("GET", f"k{number}")
                    assert read_bulk(client) == (size, sha(value))
        except Exception as error:  # shown by the test's own thread
            failures.append((number, error))

    before = resident(instance)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert resident(instance) - before < GROWTH + count * 4 * MB  # a window and a chunk in each direction


def test_a_client_that_goes_half_way_leaves_nothing(lab):
    (server,), instance = group(lab)
    with client_of(instance) as client:
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % VALUE + pattern(4 * MB))
    with client_of(instance) as client:
        client.send("SET", "other", pattern(8 * MB))
        assert client.read() == "OK"
        client.send("GET", "other")
        client.read_bytes(MB)
    wait_for(lambda: instance.status()["clients"]["connected"] == 1, 20, "both clients to be gone")
    assert server("EXISTS", "k") == 0
    with client_of(instance) as client:
        assert client("SET", "k", "small") == "OK"
        assert client("GET", "k") == b"small"


def test_a_server_that_goes_half_way(lab):
    (server,), instance = group(lab, hold={"timeout": "20s"})
    size = 8 * MB
    value = pattern(size)
    with client_of(instance) as client, client_of(instance) as reader:
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % size + value[:4 * MB])
        server("SET", "big", pattern(VALUE))
        reader.send("GET", "big")
        reader.read_bytes(MB)
        server.kill()
        client.send_raw(value[4 * MB:] + b"\r\n")
        with pytest.raises(ReplyError, match="^MASTERDOWN .* was not executed"):
            client.read()
        with pytest.raises((ConnectionError, OSError)):
            while True:
                reader.read_bytes(MB)
        server.start().wait_up()
        assert client("SET", "k", "again") == "OK"


def test_large_values_from_a_replica_that_is_fresh(lab):
    (primary, replica), instance = group(lab, nodes=2)
    with client_of(instance) as writer, client_of(instance, protocol=3) as reader:
        before = resident(instance)
        for number in range(6):
            value = pattern(6 * MB + number, number)
            writer.send("SET", "k", value)
            writer.send("SET", "n", number)
            assert writer.read() == "OK" and writer.read() == "OK"
            reader.send("GET", "n")
            reader.send("GET", "k")
            reader.send("GET", "n")
            assert reader.read() == b"%d" % number
            assert read_bulk(reader) == (len(value), sha(value))
            assert reader.read() == b"%d" % number
        wait_for(lambda: primary.offset() == replica.offset(), 20, "the replica to be level")

        def read_there():
            reader.send("GET", "k")
            assert read_bulk(reader) == (len(value), sha(value))
            return replica.calls("GET") > 0

        wait_for(read_there, 30, "a large read at the replica")
        assert resident(instance) - before < GROWTH


def test_a_request_beyond_query_buffer_is_cut_off_as_stock_does(lab):
    (server,), instance = group(lab)
    for target in (server, instance):
        target("CONFIG", "SET", "client-query-buffer-limit", 2 * MB)
        with target.client() as client:
            with pytest.raises((ConnectionError, OSError)):
                client.send("SET", "k", pattern(6 * MB))
                client.read()
        assert target("EXISTS", "k") == 0
    with instance.client() as client, pytest.raises((ConnectionError, OSError)):
        client.send("ECHO", pattern(6 * MB))  # gathered here
        client.read()


def test_malformed_in_the_middle_of_a_large_request(lab):
    (server,), instance = group(lab)
    bad = encode("MSET", "a", pattern(3 * MB))[:-2].replace(b"*3", b"*5", 1) + b"\r\n$1\r\nb\r\n:7\r\n"
    too_long = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n"
    for request in (bad, too_long):
        answers = []
        for target in (server, instance):
            with target.client() as client:
                client.send_raw(request)
                answers.append(client.read_raw())
                with pytest.raises((ConnectionError, OSError)):
                    client.read()
        assert answers[0] == answers[1]
