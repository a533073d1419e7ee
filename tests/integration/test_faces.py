"""The faces of one instance (truthful, always a primary, reads only), and authentication."""

import socket

import pytest

from fake_replica import FakeReplica
from harness import HOST, free_port, parse_info, wait_for
from resp_client import RespClient, same_reply


@pytest.fixture
def faced(lab, binary):
    """(instance that is a replica, its top, client of the service port, client of the read port)."""
    top, node = lab.servers(2)
    top("SET", "k", "v")
    service, read = free_port(), free_port()
    upstream = lab.instance([top])
    instance = lab.instance([node], replicaof=upstream, service_listen=f"{HOST}:{service}",
                            read_listen=f"{HOST}:{read}")
    instance.wait_link()
    wait_for(lambda: node("GET", "k") == b"v", 10, "the node to be filled")
    return instance, top, RespClient(service), RespClient(read)


def test_the_service_port_is_always_a_primary(faced):
    instance, top, service, _ = faced
    assert instance.info()["role"] == "slave" and instance("ROLE")[0] == b"slave"
    assert parse_info(service("INFO", "replication"))["role"] == "master"
    assert parse_info(service("INFO"))["role"] == "master"
    assert service("ROLE")[0] == b"master"
    hello = service("HELLO")
    assert dict(zip(hello[::2], hello[1::2]))[b"role"] == b"master"
    assert service("SET", "via", "service") == "OK" and top("GET", "via") == b"service"
    assert service("GET", "via") == b"service"
    for command in (("REPLICAOF", "NO", "ONE"), ("SLAVEOF", HOST, 1), ("FAILOVER",)):
        assert service.raw(*command).startswith(b"-"), command
    assert instance.info()["role"] == "slave"


def test_connected_slaves_fits_wait_on_the_service_port(faced):
    _, _, service, _ = faced
    service("SET", "k", "w")
    replicas = int(parse_info(service("INFO", "replication"))["connected_slaves"])
    assert service("WAIT", 0, 100) <= replicas
    assert service("WAIT", replicas, 5000) == replicas


def test_the_node_port_forwards_writes_and_tells_the_truth(faced):
    instance, top, _, _ = faced
    assert instance("SET", "via", "node port") == "OK" and top("GET", "via") == b"node port"
    assert instance("GET", "via") == b"node port"
    hello = instance("HELLO")
    assert dict(zip(hello[::2], hello[1::2]))[b"role"] == b"replica"


def test_the_read_port_only_reads(lab, faced):
    _, _, _, read = faced
    assert read("GET", "k") == b"v"
    replica = lab.server()
    replica.replicaof(faced[1])
    replica.wait_link()
    with replica.client() as stock:
        for command in (("SET", "k", "x"), ("DEL", "k"), ("INCR", "n"), ("FLUSHALL",), ("MSET", "a", "1"),
                        ("EVAL_RO", "return 1", "0"), ("GET", "k"), ("PING",)):
            same_reply(stock, read, *command)


def test_listen_on_a_unix_socket_as_well(lab, binary):
    path = lab.dir / "socket"
    instance = lab.instance([lab.server()], start=False)
    instance.config["listen"] = [instance.address, f"unix:{path}"]
    instance.start().wait_up().wait_ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"


@pytest.fixture
def locked(lab, subject):
    """(a stock server with a password, the subject with the same one)."""
    stock, node = lab.server(requirepass="secret"), lab.server(requirepass="secret", masterauth="secret")
    return stock, (node if subject == "stock" else lab.instance([node], requirepass="secret", masterauth="secret"))


AUTH = [
    [("PING",)], [("GET", "k")], [("AUTH", "wrong")], [("AUTH", "secret"), ("PING",)], [("AUTH", "default", "secret")],
    [("AUTH", "nosuch", "secret")], [("AUTH",)], [("AUTH", "a", "b", "c")], [("HELLO", "3")],
    [("HELLO", "3", "AUTH", "default", "wrong")], [("HELLO", "2", "AUTH", "default")], [("NOSUCH",)], [("GET",)],
    [("MULTI",)], [("SUBSCRIBE", "a")], [("INFO",)], [("REPLICAOF", "NO", "ONE")], [("PSYNC", "?", "-1")],
    [("REPLCONF", "listening-port", "1")], [("AUTH", "secret"), ("AUTH", "wrong"), ("PING",)],
    [("AUTH", "secret"), ("RESET",), ("PING",)], [("SELECT", "1")], [("CLIENT", "SETNAME", "x")],
    [("CONFIG", "GET", "*")],
    [("ECHO", "x")], [("QUIT",)],
]


@pytest.mark.parametrize("commands", AUTH, ids=lambda cs: "+".join("_".join(c) for c in cs))
def test_auth_replies_equal_stock(locked, commands):
    with RespClient(locked[0].port) as expected, RespClient(locked[1].port) as actual:
        for command in commands:
            same_reply(expected, actual, *command)


def test_unauthenticated_limits_equal_stock(locked):
    for request in (b"*11\r\n", b"*1\r\n$16385\r\n", b"*2\r\n$3\r\nGET\r\n$20000\r\n"):
        with RespClient(locked[0].port) as expected, RespClient(locked[1].port) as actual:
            for side in (expected, actual):
                side.send_raw(request)
            assert actual.read_until_close() == expected.read_until_close()


def test_without_a_password_auth_reads_like_stock(lab, front):
    stock = lab.server()
    with stock.client() as expected, front[0].client() as actual:
        for command in (("AUTH", "x"), ("AUTH", "default", "x"), ("AUTH", "nosuch", "x"),
                        ("HELLO", "3", "AUTH", "a", "b"), ("PING",)):
            same_reply(expected, actual, *command)


def test_replicas_authenticate(locked):
    replica = FakeReplica(locked[1].port, 7777, password="secret")
    assert replica.psync("?", -1).startswith(b"+FULLRESYNC")
    assert RespClient(locked[1].port).raw("PSYNC", "?", "-1").startswith(b"-NOAUTH")


def test_the_password_can_be_changed_at_run_time(locked):
    front = locked[1]
    assert front("CONFIG", "SET", "requirepass", "new") == "OK"
    assert RespClient(front.port).raw("AUTH", "secret").startswith(b"-WRONGPASS")
    with RespClient(front.port) as client:
        assert client("AUTH", "new") == "OK" and client("PING") == "PONG"


def test_too_many_clients_read_like_stock(lab, subject):
    """The ones inside go on; when one leaves, the next is let in."""
    stock, node = lab.server(maxclients=4), lab.server(**({"maxclients": 4} if subject == "stock" else {}))
    front = node if subject == "stock" else lab.instance([node], limits={"maxclients": 4})
    inside = {}
    for side in (stock, front):
        inside[side] = [RespClient(side.port) for _ in range(4)]
        for client in inside[side]:
            client("GET", "k")
    expected, actual = RespClient(stock.port), RespClient(front.port)
    if subject == "stock":
        assert actual.read_until_close() == expected.read_until_close()
    else:                                    # room is kept for Sentinel and replicas, not for applications
        assert actual.raw("GET", "k") == expected.read_until_close()
    assert inside[front][0]("SET", "k", "v") == "OK"
    inside[front].pop().close()

    def let_in():
        with RespClient(front.port) as client:
            return client("GET", "k") == b"v"
    wait_for(let_in, 5, "room for another client")
