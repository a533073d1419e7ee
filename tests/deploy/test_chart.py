"""The Helm chart over a matrix of values: strict schema, house rules, configurations that the product accepts, scripts
that a shell accepts, and refusals that say what to do."""

import copy
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from charts import CHART, Refused, render, strict_findings
from conftest import ROOT
from harness import BINARY
from policy import pods, proxy_of, violations

MATRIX = sorted((CHART / "ci").glob("*-values.yaml"))
IMAGE = {"image": {"repository": "registry.example/sidestream"}}
GATEWAY = {**IMAGE, "mode": "gateway", "gateway": {"nodes": ["redis-0.redis:6379"]}}


@pytest.fixture(scope="module", params=MATRIX, ids=lambda path: path.name.removesuffix("-values.yaml"))
def rendered(request):
    return render(request.param)


def test_strict_schema(rendered):
    assert strict_findings(rendered.manifests) == []


def test_strict_schema_finds_what_is_wrong():
    manifests = render(MATRIX[0]).manifests
    broken = copy.deepcopy(manifests)
    spec = next(spec for _, _, spec in pods(broken))
    spec["restartPolicyy"] = "Always"
    spec["terminationGracePeriodSeconds"] = "60"
    assert len(strict_findings(broken)) == 2


def test_house_rules(rendered):
    assert violations(rendered.manifests) == []


def _proxy(manifests):
    return next(proxy_of(spec) for _, _, spec in pods(manifests) if proxy_of(spec))


def _spec(manifests):
    return next(spec for _, _, spec in pods(manifests) if proxy_of(spec))


def _service(manifests):
    return next(m for m in manifests if m["kind"] == "Service" and m["spec"].get("ports", [{}])[0]["name"] == "service")


@pytest.mark.parametrize("rule, breaks", [
    ("restricted", lambda m: _spec(m)["securityContext"].update(runAsNonRoot=False)),
    ("restricted", lambda m: _proxy(m)["securityContext"].pop("capabilities")),
    ("resources", lambda m: _proxy(m)["resources"]["limits"].update(cpu="1")),
    ("images", lambda m: _proxy(m).update(image="sidestream:latest")),
    ("probes", lambda m: _proxy(m)["startupProbe"]["httpGet"].update(path="/readyz")),
    ("probes", lambda m: _proxy(m)["livenessProbe"]["httpGet"].update(port="admin")),
    ("drains", lambda m: _spec(m).update(terminationGracePeriodSeconds=30)),
    ("drains", lambda m: _proxy(m).pop("lifecycle")),
    ("sidecars", lambda m: _proxy(m).pop("restartPolicy")),
    ("services", lambda m: _service(m)["spec"]["ports"][0].update(targetPort="service")),
    ("services", lambda m: _service(m)["spec"]["ports"][0].update(targetPort=1)),
    ("selectors", lambda m: next(x for x in m if x["kind"] == "StatefulSet")["spec"]["selector"]["matchLabels"].update(
        {"helm.sh/chart": "sidestream-0.1.0"})),
    ("references", lambda m: _proxy(m)["volumeMounts"].append({"name": "nowhere", "mountPath": "/x"})),
    ("enums", lambda m: _proxy(m).update(restartPolicy="Alwayz")),
])
def test_every_house_rule_finds_what_breaks_it(rule, breaks):
    manifests = render(IMAGE).manifests
    breaks(manifests)
    assert any(finding.startswith(rule + ": ") for finding in violations(manifests))


def test_the_product_accepts_its_configuration(rendered, tmp_path):
    found = 0
    for config_map in rendered.all("ConfigMap"):
        for name, text in config_map["data"].items():
            if not name.endswith(".yaml"):
                continue
            found += 1
            path = tmp_path / name
            # The password is a file that the pod has.
            secret = tmp_path / "password"
            secret.write_text("secret")
            path.write_text(text.replace("/etc/sidestream/secret/password", str(secret)))
            done = subprocess.run([BINARY, "--config", path, "--check-config"], capture_output=True, text=True,
                                  env={**os.environ, "POD_NAME": "rel-sidestream-0", "POD_IP": "10.0.0.1"})
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert found in (1, 2)


def test_scripts_are_shell(rendered, tmp_path):
    scripts = [text for config_map in rendered.all("ConfigMap") for name, text in config_map["data"].items()
               if name.startswith("start-")]
    scripts += [container["command"][-1] for pod in rendered.all("Pod") for container in pod["spec"]["containers"]]
    for script in scripts:
        path = tmp_path / "script"
        path.write_text(script)
        subprocess.run(["dash", "-n", path], check=True)
        if shutil.which("shellcheck"):
            done = subprocess.run(["shellcheck", "-s", "sh", path], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def test_the_first_pod_leads_and_the_others_follow_it():
    rendered = render({**IMAGE, "replicas": 4})
    config = {name: yaml.safe_load(text) for name, text in rendered.one("ConfigMap", "rel-sidestream")["data"].items()
              if name.endswith(".yaml")}
    assert "replicaof" not in config["primary.yaml"]
    assert config["replica.yaml"]["replicaof"] == "rel-sidestream-0.rel-sidestream-headless.ns.svc.cluster.local:6379"
    volumes = rendered.one("StatefulSet", "rel-sidestream")["spec"]["template"]["spec"]["volumes"]
    items = next(v for v in volumes if v["name"] == "config")["configMap"]["items"]
    files = {item["path"]: item["key"] for item in items if item["path"].startswith("pod-")}
    assert files == {"pod-0.yaml": "primary.yaml", **{f"pod-{i}.yaml": "replica.yaml" for i in (1, 2, 3)}}


def test_options_of_the_user_win_and_reach_the_proxy():
    rendered = render({**IMAGE, "config": {"repl-backlog-size": "1gb", "log": {"level": "debug"}}})
    config = yaml.safe_load(rendered.one("ConfigMap", "rel-sidestream")["data"]["replica.yaml"])
    assert (config["repl-backlog-size"], config["log"]) == ("1gb", {"format": "json", "level": "debug"})


def test_a_change_of_configuration_rolls_the_pods():
    def checksum(values):
        workload = render(values).one("StatefulSet", "rel-sidestream")
        return workload["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    assert checksum(IMAGE) == checksum(IMAGE) != checksum({**IMAGE, "config": {"threads": 2}})


@pytest.mark.parametrize("values, says", [
    ({}, "image.repository: name the image"),
    ({**IMAGE, "drainSeconds": 50}, r"terminationGracePeriodSeconds \(60\) must be at least drainSeconds \+ 15"),
    ({**IMAGE, "mode": "gateway"}, "gateway.nodes: name at least one server"),
    ({**IMAGE, "sentinel": {"quorum": 4}}, "sentinel.quorum"),
    ({**IMAGE, "replica": 3}, "'replica' was unexpected"),
    ({**IMAGE, "replicas": "3"}, "replicas: '3' is not of type 'integer'"),
    ({**IMAGE, "image": {"repository": "x", "tag": "latest"}}, "image.tag"),
    ({**IMAGE, "mode": "cluster"}, "mode: 'cluster' is not one of"),
    ({**GATEWAY, "gateway": {"nodes": ["redis"]}}, "gateway.nodes.0"),
    ({**GATEWAY, "gateway": {"nodes": ["redis:6379"], "replicas": 2}}, "gateway.replicas: with gateway.nodes only 1"),
    ({**GATEWAY, "gateway": {"sentinel": {"addresses": ["s:26379"]}}}, "gateway.sentinel.masterName"),
    ({**GATEWAY, "gateway": {"nodes": ["r:1"], "sentinel": {"addresses": ["s:2"], "masterName": "m"}}},
     "leave gateway"),
])
def test_mistakes_are_refused_with_what_to_do(values, says):
    with pytest.raises(Refused, match=says):
        render(values)


def test_every_value_is_explained_and_in_the_schema():
    """Keys of values.yaml and of the schema are the same, so that no key is without a default and none unknown."""
    def keys(schema, values, where=""):
        assert set(schema["properties"]) - {"global"} == set(values), where
        for key, inner in schema["properties"].items():
            if inner.get("properties") and key != "global":
                yield from keys(inner, values[key], f"{where}.{key}")
        yield where
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert len(list(keys(schema, yaml.safe_load((CHART / "values.yaml").read_text())))) > 10


def test_versions_agree():
    version = re.search(r"version : '(.*)'", (ROOT / "meson.build").read_text())[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version


def test_notes(rendered):
    assert "redis://rel-sidestream.ns:6379" in rendered.notes
    assert "<no value>" not in rendered.notes
