"""Who is let in: protected mode, slots that are kept, limits by address, unix sockets; and whose name a node sees."""

import os
import socket
import stat
import subprocess
import threading

import pytest

from front_door import exchange, metric, outside_address, proxy_one
from harness import HOST, free_port, wait_for
from resp_client import ReplyError


def everywhere(lab, **config):
    """An instance that listens on every address, with a port for applications."""
    instance = lab.instance([lab.server()], start=False, **config)
    instance.config["listen"] = f"0.0.0.0:{instance.port}"
    return instance.start().wait_up().wait_online()


def test_protected_mode(lab, subject):
    """As stock: without a password only this machine is let in; the switch is live, a password makes it needless."""
    outside = outside_address()
    if subject == "stock":
        front = lab.server(bind=["0.0.0.0"], protected_mode="yes")
    else:
        front = everywhere(lab)
    assert exchange(front.port, b"PING\r\n", outside).startswith(b"-DENIED ")
    assert front("PING") == "PONG"
    assert front("CONFIG", "GET", "protected-mode") == [b"protected-mode", b"yes"]
    assert front("CONFIG", "SET", "protected-mode", "no") == "OK"
    assert exchange(front.port, b"PING\r\n", outside, until_close=False) == b"+PONG\r\n"
    assert front("CONFIG", "SET", "protected-mode", "yes") == "OK"
    assert exchange(front.port, b"PING\r\n", outside).startswith(b"-DENIED ")
    assert front("CONFIG", "SET", "requirepass", "pw") == "OK"
    assert exchange(front.port, b"PING\r\n", outside, until_close=False).startswith(b"-NOAUTH ")
    if subject == "instance":
        front.password = "pw"
        assert metric(front, "sidestream_client_connections_rejected_total", reason="protected-mode") == 2
        assert "refused: protected mode" in front.log_text()
        assert front.info("stats")["rejected_connections"] == "2"


def test_protected_mode_says_what_to_do(lab, binary):
    instance = everywhere(lab)
    text = exchange(instance.port, b"", outside_address()).decode()
    for hint in ("requirepass-file", "users", "protected-mode: no", "CONFIG SET protected-mode no", "loopback"):
        assert hint in text


def test_slots_for_replicas_and_operators_stay_free(lab, binary):
    service = free_port()
    instance = lab.instance([lab.server()], service_listen=f"{HOST}:{service}", limits={"maxclients": 3})
    applications = [instance.client() for _ in range(3)]
    for each in applications:
        assert each("PING") == "PONG"
    assert exchange(service, b"PING\r\n") == b"-ERR max number of clients reached\r\n"
    with instance.client() as operator:
        assert operator("PING") == "PONG"
        assert operator("ROLE")[0] == b"master"
        assert operator("CONFIG", "GET", "maxclients") == [b"maxclients", b"3"]
        assert b"role:master" in operator("INFO", "replication")
        with pytest.raises(ReplyError, match="^ERR max number of clients reached$"):
            operator("GET", "k")
    replica = lab.server()
    replica.replicaof(instance)
    replica.wait_link()
    assert metric(instance, "sidestream_client_connections_rejected_total", reason="maxclients") >= 2
    for each in applications:
        assert each("PING") == "PONG"
        each.close()


def test_clients_per_address(lab, binary):
    instance = lab.instance([lab.server()], proxy_protocol="accept", proxy_protocol_from=["127.0.0.1"],
                            protected_mode=False, limits={"clients-per-address": 2})
    near = [instance.client(first=proxy_one("10.0.0.7", port)) for port in (1, 2)]
    for each in near:
        assert each("PING") == "PONG"
    refused = exchange(instance.port, proxy_one("10.0.0.7", 3) + b"PING\r\n")
    assert refused.startswith(b"-ERR max number of clients reached for your address")
    with instance.client(first=proxy_one("10.0.0.8")) as other:
        assert other("PING") == "PONG"
    assert metric(instance, "sidestream_client_connections_rejected_total", reason="clients-per-address") == 1
    near[0].close()

    def again():
        with instance.client(first=proxy_one("10.0.0.7", 4)) as third:
            return third("PING") == "PONG"
    wait_for(again, 10, "room for one more when one has gone")


@pytest.mark.parametrize("threads", [1, 3])
def test_commands_per_address_slow_down_and_refuse_nothing(lab, binary, threads):
    instance = lab.instance([lab.server()], threads=threads, proxy_protocol="accept",
                            proxy_protocol_from=["127.0.0.1"], protected_mode=False)
    with instance.client(first=proxy_one("10.0.0.7", 9)) as operator:
        assert operator("CONFIG", "SET", "limits.commands-per-address", 400) == "OK"
    counts = []

    def hurry(port):
        with instance.client(first=proxy_one("10.0.0.7", port), timeout=60) as client:
            counts.extend(client("INCR", "n") for _ in range(150))
    threads = [threading.Thread(target=hurry, args=(port,)) for port in range(4)]
    for thread in threads:
        thread.start()
    with instance.client(first=proxy_one("10.0.0.8")) as other:  # is not held up
        for _ in range(10):
            assert other("PING") == "PONG"
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(1, 601))
    with instance.client(first=proxy_one("10.0.0.9")) as operator:
        wait_for(lambda: metric(instance, "sidestream_client_delays_total") > 0, 10, "the count of delays")
        operator("CONFIG", "SET", "limits.commands-per-address", 0)


def test_unix_sockets(lab, binary):
    path = f"{lab.dir}/front.sock"
    instance = lab.instance([lab.server()], start=False, unixsocketperm=770)
    instance.config["listen"] = [instance.address, f"unix:{path}"]
    instance.start().wait_up().wait_online()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o770
    done = subprocess.run(["redis-cli", "-s", path, "SET", "k", "v"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "OK"
    assert b"addr=unix" in instance("CLIENT", "LIST") or instance("GET", "k") == b"v"
    assert instance.terminate() == 0
    assert not os.path.exists(path)


def test_a_unix_socket_takes_no_place_from_others(lab, binary):
    path = lab.dir / "front.sock"
    path.write_text("precious")
    instance = lab.instance([lab.server()], start=False)
    instance.config["listen"] = [instance.address, f"unix:{path}"]
    instance.start()
    assert instance.process.wait(20) == 3
    assert "there is a file that is no socket" in instance.log_text()
    assert path.read_text() == "precious"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        instance.start()
        assert instance.process.wait(20) == 3
        assert "another process listens there" in instance.log_text()
    instance.start().wait_up()  # whoever left this socket behind has gone
    instance.wait_online()
    assert instance("PING") == "PONG"


def names_at(server):
    lines = server("CLIENT", "LIST").decode().splitlines()
    return {dict(field.split("=", 1) for field in line.split())["name"] for line in lines}


def test_a_node_sees_whose_connection_it_is(lab, binary):
    node = lab.server()
    instance = lab.instance([node], node_client_name="address")
    with instance.client() as waiting, instance.client() as subscriber, instance.client() as reader:
        address = waiting("CLIENT", "INFO").decode().split("addr=")[1].split()[0]
        waiting.send("BLPOP", "list", 0)
        wait_for(lambda: address in names_at(node), 10, "its address in the node's CLIENT LIST")
        subscriber("SUBSCRIBE", "c")
        listens = subscriber.socket.getsockname()
        wait_for(lambda: f"{listens[0]}:{listens[1]}" in names_at(node), 10, "the subscriber's too")
        reads = reader.socket.getsockname()
        assert reader("GET", "k") is None
        assert f"{reads[0]}:{reads[1]}" not in names_at(node), "shared connections are nobody's"
        assert instance("RPUSH", "list", "x") == 1
        assert waiting.read() == [b"list", b"x"]
        assert instance("PUBLISH", "c", "m") == 1
        assert subscriber.read() == [b"message", b"c", b"m"]
