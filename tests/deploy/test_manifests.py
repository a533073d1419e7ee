"""Manifests for those without Helm, and the values that add the sidecar to somebody else's chart."""

import os
import subprocess

import pytest
import yaml

from charts import strict_findings
from conftest import ROOT
from harness import BINARY
from plain_manifests import FILES, PLACE, text_of
from policy import containers, violations

FOREIGN = PLACE / "valkey-chart"


def manifests_of(path):
    return [manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest]


@pytest.mark.parametrize("name", FILES)
def test_they_are_what_the_chart_says(name):
    assert (PLACE / name).read_text() == text_of(name), "run tests/deploy/plain_manifests.py"


@pytest.mark.parametrize("name", FILES)
def test_schema_and_house_rules(name):
    manifests = manifests_of(PLACE / name)
    assert strict_findings(manifests) == []
    assert violations(manifests) == []


def test_kustomization_names_what_is_there():
    [kustomization] = manifests_of(PLACE / "kustomization.yaml")
    for name in kustomization["resources"]:
        used = [container["image"].split(":")[0] for manifest in manifests_of(PLACE / name)
                if manifest["kind"] in ("StatefulSet", "Deployment")
                for container in containers(manifest["spec"]["template"]["spec"])]
        assert {image["name"] for image in kustomization["images"]} <= set(used)


def test_sidecar_for_the_official_valkey_chart():
    """In a pod as that chart makes it: strict schema, house rules, and every file of the ConfigMap is mounted."""
    [values], [config_map] = manifests_of(FOREIGN / "values.yaml"), manifests_of(FOREIGN / "configmap.yaml")
    [sidecar] = values["extraInitContainers"]
    own = {key: value for key, value in sidecar["securityContext"].items() if not key.startswith("runAs")}
    pod = {
        "automountServiceAccountToken": False, "enableServiceLinks": False,
        "terminationGracePeriodSeconds": values["replica"]["terminationGracePeriodSeconds"],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [{**sidecar, "securityContext": own}],
        "containers": [],
        "volumes": [*values["extraVolumes"], {"name": "valkey-data", "emptyDir": {}}]}
    metadata = {"name": "valkey-0", "labels": {}}
    manifests = [config_map, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}]
    assert strict_findings(manifests) == []
    assert violations(manifests) == []
    pods = 1 + values["replica"]["replicas"]
    assert [item["path"] for item in values["extraVolumes"][0]["configMap"]["items"]] == \
           [f"pod-{index}.yaml" for index in range(pods)]


@pytest.mark.parametrize("key", ["primary.yaml", "replica.yaml"])
def test_the_product_accepts_that_configuration(tmp_path, key):
    [config_map] = manifests_of(FOREIGN / "configmap.yaml")
    path = tmp_path / key
    path.write_text(config_map["data"][key])
    done = subprocess.run([BINARY, "--config", path, "--check-config"], capture_output=True, text=True,
                          env={**os.environ, "POD_NAME": "valkey-0"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "configuration OK\n", "")


def test_sidecar_beside_a_server_as_that_chart_configures_it(lab):
    """The chart's own lines say replicaof <pod 0>:6379 and announce that port; ours behind them move the server. Here
    the servers of pod 0 and pod 1, with the ports that the test has."""
    [values] = manifests_of(FOREIGN / "values.yaml")
    ours = {line.split()[0]: line.split()[1] for line in values["valkeyConfig"].splitlines()}
    assert (ours.pop("port"), ours.pop("bind"), ours.pop("replica-announce-ip")) == ("6380", "127.0.0.1", '""')
    first = lab.server(name="valkey-0")
    leader = lab.instance([first], name="proxy-0")
    second = lab.server(name="valkey-1", replicaof=["127.0.0.1", str(leader.port)], replica_announce_ip="", **ours)
    follower = lab.instance([second], name="proxy-1", replicaof=leader)
    assert follower("SET", "greeting", "hello") == "OK"
    assert follower("GET", "greeting") == b"hello"
    second.wait_link()
    assert second.info()["master_port"] == str(follower.port)
    assert leader.status()["counters"]["full_syncs"] <= 1
