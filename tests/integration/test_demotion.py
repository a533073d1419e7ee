"""A primary that was made a replica behind the instance's back: its refusals are not the clients' business.

Writers count and collect through the instance while an operator turns the roles round at the servers themselves, as
Sentinel and scripts do. Nothing is reported to a client, nothing is lost and nothing done twice.
"""

import threading

from harness import wait_converged, wait_for
from resp_client import ReplyError

WRITERS = 8


class Writer(threading.Thread):
    """Pipelines of INCR and RPUSH, the reads behind them, which must show what was just written, and BLPOP."""

    def __init__(self, instance, number):
        super().__init__(daemon=True)
        self.instance, self.number = instance, number
        self.counted, self.pushed, self.wrong = 0, [], []
        self.stopping = False

    def run(self):
        with self.instance.client(timeout=60) as client:
            while not self.stopping:
                self.burst(client)

    def burst(self, client):
        token = f"{self.number}.{len(self.pushed)}"
        names = (f"c:{self.number}", f"l:{self.number}", f"q:{self.number}")
        replies = client.pipeline([("INCR", names[0]), ("RPUSH", names[1], token), ("GET", names[0]),
                                   ("LINDEX", names[1], -1), ("RPUSH", names[2], token), ("BLPOP", names[2], 0)])
        errors = [reply for reply in replies if isinstance(reply, ReplyError)]
        self.counted += 1
        self.pushed.append(token)
        if errors or replies != [self.counted, len(self.pushed), b"%d" % self.counted, token.encode(), 1,
                                 [names[2].encode(), token.encode()]]:
            self.wrong.append((token, replies))
            self.stopping = True


def turn_round(instance, old, new, replicas, pause):
    """`pause`: writes are held at the server meanwhile, as tutorials say; else it refuses them."""
    if pause:
        old("CLIENT", "PAUSE", 60000, "WRITE")
        wait_for(lambda: new.offset() >= old.offset(), 30, "the new primary to be level")
    old.replicaof(instance)
    wait_for(lambda: len({node.offset() for node in replicas}) == 1, 30, "the replicas to be level")
    wait_for(lambda: "became a replica" in instance.status()["trouble"], 30, "it to be noticed")
    new.replicaof(None)
    if pause:
        old("CLIENT", "UNPAUSE")


def check_switches(lab, pause, rounds=3):
    servers = lab.servers(3, repl_ping_replica_period=1)
    instance = lab.instance(servers, hold={"timeout": "30s"})
    instance.wait_online()
    writers = [Writer(instance, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    old = next(server for server in servers if server.role() == "master")
    for _ in range(rounds):
        new = next(server for server in servers if server is not old)
        before = [writer.counted for writer in writers]
        turn_round(instance, old, new, [server for server in servers if server is not old], pause)
        wait_for(lambda: all(w.counted > was + 5 or w.wrong for w, was in zip(writers, before)), 60, "writes to go on")
        wait_for(instance.nodes_online, 60, "all nodes to follow")
        old = new
    for writer in writers:
        writer.stopping = True
    for writer in writers:
        writer.join(60)
    assert [writer.wrong for writer in writers if writer.wrong] == []
    wait_converged(old, [server for server in servers if server is not old])
    for writer in writers:
        assert int(old("GET", f"c:{writer.number}")) == writer.counted
        assert old("LRANGE", f"l:{writer.number}", 0, -1) == [token.encode() for token in writer.pushed]


def test_held_at_the_server(lab):
    check_switches(lab, pause=True)


def test_refused_by_the_server(lab):
    check_switches(lab, pause=False)
