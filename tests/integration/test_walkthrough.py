"""The classic walkthrough: a primary, two replicas, REPLICAOF, INFO, a refused write, NO ONE, and back again.

It runs with stock servers alone, writing a transcript, and again with an instance in front of each server; the
second transcript must be the first one, byte for byte. Masked, because they differ legitimately from run to run:
port numbers (by the name of the server), replids (by order of appearance; which is equal to which still counts),
offsets, `lag` and `master_last_io_seconds_ago` (digits become N). Nothing else is masked; the backlog size is
configured to be the same. Before the first replica a stock server has no backlog and a throw-away replid, an
instance has attached to its node already: there only the names and their order are compared.
"""

import re

import pytest

from harness import HOST, parse_info, wait_for

OFFSETS = ("slave_read_repl_offset", "slave_repl_offset", "master_repl_offset", "second_repl_offset",
           "repl_backlog_first_byte_offset", "repl_backlog_histlen", "master_last_io_seconds_ago")


class Transcript:
    def __init__(self, faces):
        self.ports = {str(face.port): name for name, face in faces.items()}
        self.replids, self.steps = {}, []

    def _mask_info(self, text):
        text = re.sub(r"(?<=port=)\d+|(?<=master_port:)\d+", lambda m: self.ports.get(m[0], m[0]), text)
        text = re.sub(r"(?<=offset=)\d+|(?<=lag=)\d+", "N", text)
        text = re.sub(r"^(%s):\d+" % "|".join(OFFSETS), r"\1:N", text, flags=re.M)
        return re.sub(r"\b(?!0{40})[0-9a-f]{40}\b",
                      lambda m: self.replids.setdefault(m[0], f"ID{len(self.replids)}"), text)

    def _mask_role(self, value):
        if isinstance(value, list):
            return [self._mask_role(item) for item in value]
        text = value.decode() if isinstance(value, bytes) else str(value)
        return self.ports.get(text) or re.sub(r"^\d+$", "N", text)

    def add(self, title, text):
        self.steps.append((title, text))

    def info(self, title, face):
        with face.client() as client:
            client.send("INFO", "replication")
            value, raw = client.read_both()
            assert raw == b"$%d\r\n%s\r\n" % (len(value), value)
            self.add(f"{title}: INFO", self._mask_info(value.decode()))
            self.add(f"{title}: ROLE", self._mask_role(client("ROLE")))

    def reply(self, title, face, *command):
        self.add(f"{title}: {command[0]}", face.raw(*command))


def attached(primary, names, faces, nodes):
    ports = [str(faces[name].port) for name in names]

    def check():
        info = primary.info()
        slaves = [info[key] for key in sorted(info) if re.fullmatch(r"slave\d+", key)]
        online = [s for s in slaves if "state=online" in s and any(f"port={p}," in s for p in ports)]
        # Connections that only fetch a snapshot are counted as well, while they last.
        return len(online) == len(names) == len(slaves) == int(info["connected_slaves"])
    for name in names:
        faces[name].wait_link(20)
        in_place(nodes[name], primary)
        # An instance says 0 while its node could not be promoted.
        wait_for(lambda face=faces[name]: face.info()["slave_priority"] == "100", 20, "a node to be promoted")
    wait_for(check, 20, f"replicas {names} online at {primary.name}")


def in_place(node, primary):
    """The server that holds the data has arrived as well: behind an instance that comes later."""
    wait_for(lambda: node.link_up() and node.replid() == primary.replid(), 20, f"{node.name} to be synced")


def follow(transcript, faces, name, command="REPLICAOF"):
    transcript.reply(f"{name} follows a", faces[name], command, HOST, faces["a"].port)
    faces[name].wait_link(20)
    transcript.reply(f"{name} follows a again", faces[name], command, HOST, faces["a"].port)


def walk(faces, nodes):
    """`faces`: what is spoken to; `nodes`: the servers that hold the data (the same ones without instances)."""
    t = Transcript(faces)
    a, b, c = (faces[name] for name in "abc")
    t.reply("a", a, "SET", "greeting", "hello")
    t.add("names before", list(parse_info(a("INFO", "replication"))))
    t.add("role before", t._mask_role(a("ROLE")))
    follow(t, faces, "b")
    follow(t, faces, "c", "SLAVEOF")
    attached(a, "bc", faces, nodes)
    for name in "abc":
        t.info(f"{name} when attached", faces[name])
    with a.client() as client:
        t.add("write and wait", client.pipeline_raw([("SET", "k", "1"), ("WAIT", 2, 5000)]))
    for name in "bc":
        wait_for(lambda n=name: nodes[n]("GET", "k") == b"1", 5, f"the write to arrive at node {name}")
        t.add(f"{name} own port", nodes[name].raw("SET", "k", "2"))
    t.reply("b promoted", b, "REPLICAOF", "NO", "ONE")
    wait_for(lambda: nodes["b"].role() == "master", 10, "node b to be promoted")
    attached(a, "c", faces, nodes)
    wait_for(lambda: b.info()["second_repl_offset"] != "-1", 10, "b to have a second offset")
    for name in "abc":
        t.info(f"{name} after the promotion of b", faces[name])
    t.reply("b promoted", b, "SET", "only-b", "1")
    t.reply("b promoted", b, "GET", "only-b")
    t.reply("a", a, "GET", "only-b")
    follow(t, faces, "b")
    attached(a, "bc", faces, nodes)
    wait_for(lambda: nodes["b"]("EXISTS", "only-b") == 0, 10, "b to drop what only b had")
    for name in "abc":
        t.info(f"{name} after the return of b", faces[name])
        t.reply(name, faces[name], "GET", "greeting")
    for words in (["REPLICAOF", "h", "port"], ["REPLICAOF", "h"], ["SLAVEOF", "h", "70000"], ["SLAVEOF", "a", "b", "c"],
                  ["replicaof", "no", "one"], ["SLAVEOF", "NO", "ONE"]):
        t.reply("errors", a, *words)
    return t.steps


def stock_walk(lab, title="stock"):
    servers = {name: lab.server(name=f"{title}-{name}") for name in "abc"}
    return walk(servers, servers)


def test_walkthrough_with_stock_servers_is_repeatable(lab):
    assert stock_walk(lab) == stock_walk(lab, "again")


def test_walkthrough_through_instances_reads_like_stock(lab, binary):
    expected = stock_walk(lab)
    nodes = {name: lab.server(name=f"node-{name}") for name in "abc"}
    faces = {name: lab.instance([node], name=f"instance-{name}", repl_backlog_size="1mb")
             for name, node in nodes.items()}
    actual = walk(faces, nodes)
    for expected_step, actual_step in zip(expected, actual):
        assert actual_step == expected_step
    assert len(actual) == len(expected)


@pytest.mark.parametrize("verb", ["REPLICAOF", "SLAVEOF"])
def test_the_other_topology_a_gateway(lab, binary, verb):
    """One instance, three nodes: it commands them at start; writes on a replica node's own port are refused."""
    primary, one, two = lab.servers(3)
    primary("SET", "k", "v")
    instance = lab.instance([primary, one, two])
    for node in (one, two):
        wait_for(lambda n=node: n("GET", "k") == b"v", 10, "the node to be filled")
        assert node.role() == "slave"
        assert node.raw("SET", "k", "2") == b"-READONLY You can't write against a read only replica.\r\n"
    assert instance.info()["role"] == "master"
    assert instance(verb, "NO", "ONE") == "OK"
    assert instance("SET", "k", "3") == "OK"
    assert instance("GET", "k") == b"3"
