"""Snapshots as a possession: one for everybody, also after a restart, within bounds, admitted in an orderly way."""


import pytest

from harness import wait_converged, wait_for
from load import fill

MEGABYTE = 1 << 20


def scene(lab, megabytes=2, **config):
    primary = lab.server(name="primary", repl_ping_replica_period=3600)
    with primary.client() as client:
        fill(client, megabytes)
    config = {"repl_backlog_disk_size": "64mb", **config}
    return primary, lab.instance([primary], **config)


def attach(lab, front, count=1, **options):
    replicas = lab.servers(count, **options)
    for replica in replicas:
        replica.replicaof(front)
    for replica in replicas:
        replica.wait_link(30)
    return replicas


def snapshot_files(instance, suffix="rdb"):
    return sorted((instance.dir / "data").glob(f"snapshot-*.{suffix}"))


def labelled(instance):
    """The snapshot has its label: from now on it survives a kill -9."""
    wait_for(lambda: all(path.stat().st_size > 0 for path in snapshot_files(instance, "label"))
             and len(snapshot_files(instance, "label")) == len(snapshot_files(instance)) > 0, 10, "the label")


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_snapshot_survives_a_restart(lab, how):
    primary, instance = scene(lab)
    first, = attach(lab, instance)
    labelled(instance)
    wait_for(lambda: instance.status()["backlog"]["disk_lag_bytes"] == 0, 20, "the disk to have the stream")
    forks = primary.stat("total_forks")
    first.kill()
    if how == "kill":
        instance.kill()
    else:
        assert instance.terminate() == 0
    instance.start().wait_up()
    instance.wait_online()
    with primary.client() as client:
        client("SET", "later", "x")
    replicas = attach(lab, instance, 2)
    wait_converged(primary, replicas)
    assert instance.counters()["snapshots_fetched"] == 0
    assert primary.stat("total_forks") == forks


def test_a_damaged_snapshot_is_not_served(lab):
    primary, instance = scene(lab)
    attach(lab, instance)
    labelled(instance)
    wait_for(lambda: instance.status()["backlog"]["disk_lag_bytes"] == 0, 20, "the disk to have the stream")
    instance.kill()
    path, = snapshot_files(instance)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    instance.start().wait_up()
    replicas = attach(lab, instance)
    wait_converged(primary, replicas)
    assert instance.counters()["snapshots_fetched"] == 1
    assert "damaged" in instance.log_text()


def test_a_snapshot_beyond_max_disk_is_refused_in_words(lab):
    primary, instance = scene(lab, snapshot={"max-disk": "1mb"})
    replica = lab.server(name="replica")
    replica.replicaof(instance)
    wait_for(lambda: "snapshot.max-disk" in instance.log_text(), 20, "the reason in the log")
    assert not replica.link_up()
    assert instance("CONFIG", "SET", "snapshot.max-disk", "100mb") == "OK"
    replica.wait_link(30)
    wait_converged(primary, [replica])
    assert sum(path.stat().st_size for path in snapshot_files(instance)) < 100 * MEGABYTE
