"""Three event loops: what goes from one client to another, or to the instance, crosses them."""

import ctypes
import os
import socket
import struct
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness import parse_info, wait_converged, wait_for
from load import Load
from resp_client import RespClient

LOOPS = 3


@pytest.fixture
def front(lab, binary):
    """An instance with three loops before a primary and two replicas."""
    return lab.instance(lab.servers(3), threads=LOOPS)


def everywhere(instance, count=2 * LOOPS, **options):
    """Clients one after the other: two for each loop."""
    clients = [instance.client(**options) for _ in range(count)]
    for client in clients:
        assert client("PING") == "PONG"
    return clients


def listed(client):
    lines = client("CLIENT", "LIST").decode().splitlines()
    return [dict(field.partition("=")[::2] for field in line.split()) for line in lines]


def test_the_loops_are_there_and_all_of_them_serve(front):
    with open(f"/proc/{front.process.pid}/status") as status:
        count = next(int(line.split()[1]) for line in status if line.startswith("Threads:"))
    assert count >= LOOPS
    for n, client in enumerate(everywhere(front)):
        assert client("SET", f"k{n}", n) == "OK" and client("GET", f"k{n}") == str(n).encode()


def test_a_write_through_one_loop_is_read_through_the_others(front):
    clients = everywhere(front)
    for n in range(500):
        writer = clients[n % len(clients)]
        assert writer("SET", "shared", n) == "OK"
        for reader in clients:
            assert reader("GET", "shared") == str(n).encode()
    assert front.counters()["reads_replica"] > 0


def test_readers_on_all_loops_never_go_back_while_writers_run(front):
    done, wrong = threading.Event(), []
    acknowledged = {"n": 0}

    def read(client):
        last = 0
        while not done.is_set():
            floor = acknowledged["n"]
            seen = int(client("GET", "n") or 0)
            if seen < max(floor, last):
                wrong.append((seen, floor, last))
            last = seen

    readers = [threading.Thread(target=read, args=(client,)) for client in everywhere(front)]
    for reader in readers:
        reader.start()
    writers = everywhere(front, LOOPS)
    for n in range(1, 1500):
        writers[n % LOOPS]("SET", "n", n)
        acknowledged["n"] = n
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong, wrong[:5]


def test_client_ids_lists_and_kills_cross_the_loops(front):
    clients = everywhere(front)
    ids = [client("CLIENT", "ID") for client in clients]
    assert len(set(ids)) == len(ids)
    for n, client in enumerate(clients):
        assert client("CLIENT", "SETNAME", f"c{n}") == "OK"
    for client in clients:
        lines = listed(client)
        assert [int(line["id"]) for line in lines] == sorted(int(line["id"]) for line in lines)
        assert {f"c{n}" for n in range(len(clients))} <= {line["name"] for line in lines}
    assert parse_info(clients[0]("INFO", "clients"))["connected_clients"] == str(len(listed(clients[0])))
    assert clients[0]("CLIENT", "KILL", "ID", ids[1]) == 1
    assert clients[1].read_until_close() == b""
    others = len(listed(clients[0])) - 1
    assert clients[0]("CLIENT", "KILL", "TYPE", "normal") == others
    for client in clients[2:]:
        assert client.read_until_close() == b""
    assert clients[0]("PING") == "PONG"


def test_a_client_on_another_loop_is_unblocked(front):
    clients = everywhere(front)
    for n, sleeper in enumerate(clients[1:], 1):
        identity = sleeper("CLIENT", "ID")
        sleeper.send("BLPOP", "nothing", 0)
        wait_for(lambda: clients[0]("CLIENT", "UNBLOCK", identity) == 1, 5, f"client {n} to be blocked")
        assert sleeper.read() is None
    assert clients[0]("CLIENT", "UNBLOCK", 987654) == 0


def test_a_pause_stops_every_loop(front):
    clients = everywhere(front)
    assert clients[1]("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
    for client in clients:
        client.send("INCR", "n")
    assert all(client.silent_for(0.02) for client in clients)
    with front.client() as other:
        assert other("CLIENT", "UNPAUSE") == "OK"
    assert sorted(client.read() for client in clients) == list(range(1, len(clients) + 1))


def test_sentinels_meet_on_every_loop(front):
    clients = everywhere(front)
    for client in clients[1:]:
        assert client("SUBSCRIBE", "__sentinel__:hello")[2] == 1
    assert clients[0]("PUBLISH", "__sentinel__:hello", "it is me") == len(clients) - 1
    for client in clients[1:]:
        assert client.read() == [b"message", b"__sentinel__:hello", b"it is me"]


def test_the_limit_of_clients_counts_all_loops(lab, binary):
    front = lab.instance(lab.servers(1), threads=LOOPS, limits={"maxclients": 5})
    clients = [front.client()]
    wait_for(lambda: len(listed(clients[0])) == 1, 5, "those who looked whether it is up to be gone")
    clients += everywhere(front, 4)
    with RespClient(front.port) as one_more:
        assert one_more.raw("GET", "k").startswith(b"-ERR max number of clients")
    for client in clients:
        assert client("SET", "k", "v") == "OK"
    clients.pop().close()

    def let_in():
        with RespClient(front.port) as client:
            return client("GET", "k") == b"v"
    wait_for(let_in, 5, "room for another client")


def test_what_the_instance_answers_reaches_every_loop(front):
    for client in everywhere(front):
        assert client("ROLE")[0] == b"master"
        assert client("SET", "k", "v") == "OK" and client("WAIT", 2, 10_000) == 2
        assert client("CONFIG", "SET", "timeout", "500") == "OK"
        assert client("CONFIG", "GET", "timeout") == [b"timeout", b"500"]
        assert client("SIDESTREAM", "READS", "primary") == "OK"
        assert b"policy primary" in client("SIDESTREAM", "EXPLAIN", "GET", "k")
        assert client("MULTI") == "OK" and client("CONFIG", "GET", "timeout") == "QUEUED"
        assert client("EXEC") == [[b"timeout", b"500"]]
        assert client("MULTI") == "OK" and client("CLIENT", "LIST") == "QUEUED"
        assert len(client("EXEC")[0].splitlines()) >= LOOPS
        assert client.raw("PSYNC", "?", "x").startswith(b"-ERR")
        hello = client("HELLO")
        assert dict(zip(hello[::2], hello[1::2]))[b"role"] == b"master"


def test_an_option_set_at_run_time_counts_on_every_loop(front):
    idle = everywhere(front)
    assert front("CONFIG", "SET", "timeout", "1") == "OK"
    for client in idle:
        assert client.read_until_close() == b""


def test_a_client_that_leaves_takes_its_question_back(front):
    for client in everywhere(front):
        client("SET", "k", "v")
        client.send("WAIT", 99, 0)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    wait_for(lambda: front.status()["clients"]["connected"] <= 2, 5, "the clients to be gone")


def test_replicas_attach_through_every_loop(lab, front):
    with front.client() as client:
        client("SET", "before", "1")
    replicas = lab.servers(LOOPS)
    with Load(front.port, threads=2):
        for replica in replicas:
            replica.replicaof(front)
        for replica in replicas:
            replica.wait_link()
    wait_converged(front_primary(lab), replicas)


def front_primary(lab):
    return next(p for p in lab.processes if p.name.startswith("server") and p.role() == "master")


def test_a_change_of_role_is_known_on_every_loop(lab, binary):
    top, node = lab.servers(2)
    upstream = lab.instance([top])
    front = lab.instance([node], replicaof=upstream, threads=LOOPS)
    front.wait_link()
    clients = everywhere(front)

    def role(client):
        hello = client("HELLO")
        return dict(zip(hello[::2], hello[1::2]))[b"role"]
    assert {role(client) for client in clients} == {b"replica"}
    assert clients[1]("REPLICAOF", "NO", "ONE") == "OK"
    for client in clients:
        wait_for(lambda: role(client) == b"master", 5, "the new role")
        assert client("SET", "k", "v") == "OK"
    assert node("GET", "k") == b"v" and top("GET", "k") is None


def test_it_ends_well_with_clients_on_every_loop(front):
    clients = everywhere(front)
    clients[1].send("BLPOP", "nothing", 0)
    clients[2]("SUBSCRIBE", "channel")
    assert front.terminate() == 0


class Stopped:
    """One thread of a process stands still while this is entered; the others run."""

    ATTACH, INTERRUPT, DETACH = 0x4206, 0x4207, 17  # PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH

    def __init__(self, thread):
        self.thread = thread

    def trace(self, what):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(what, self.thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def __enter__(self):
        try:
            self.trace(self.ATTACH)
        except PermissionError as error:
            pytest.skip(f"threads of others cannot be stopped here: {error}")
        self.trace(self.INTERRUPT)
        os.waitpid(self.thread, 0x40000000)  # __WALL

    def __exit__(self, *_):
        self.trace(self.DETACH)


def threads_of(process, name):
    tasks = Path(f"/proc/{process.pid}/task")
    return [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]


def test_a_loop_that_stands_still_is_told_by_livez(front):
    def livez():
        with urllib.request.urlopen(f"http://127.0.0.1:{front.admin_port}/livez", timeout=5) as answer:
            return answer.status

    def fails():
        try:
            return livez() != 200
        except urllib.error.HTTPError as error:
            return error.code == 503 and b"an event loop has not turned" in error.read()

    loop = threads_of(front.process, "loop")[0]
    assert livez() == 200
    with Stopped(loop):
        wait_for(fails, 30, "/livez to tell of the loop")
    wait_for(lambda: not fails(), 10, "/livez to be well again")
