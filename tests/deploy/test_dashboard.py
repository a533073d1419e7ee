"""The Grafana dashboard: every expression is PromQL, and speaks of metrics and labels that an instance really has."""

import json
import re
import shutil
import subprocess
import urllib.request

import pytest
import yaml

from conftest import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana/sidestream.json").read_text())
VARIABLES = {"$__rate_interval": "5m", "$namespace": "n", "$pod": "p"}
OF_KUBERNETES = {"namespace", "pod", "le"}


def expressions():
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    for variable, text in VARIABLES.items():
        found = [expression.replace(variable, text) for expression in found]
    return found


def test_it_is_meant_for_any_grafana():
    assert DASHBOARD["uid"] and DASHBOARD["schemaVersion"] and "$__rate_interval" in json.dumps(DASHBOARD)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "namespace", "pod"}
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}" and panel["fieldConfig"]["defaults"]["unit"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_expressions_are_promql(tmp_path):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian's prometheus)")
    rules = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(expressions())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_speak_of_what_there_is(lab):
    instance = lab.instance(lab.servers(2))
    with urllib.request.urlopen(f"http://127.0.0.1:{instance.admin_port}/metrics") as answer:
        text = answer.read().decode()
    labels = {}
    for name, inside in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.M):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', inside))
    for expression in expressions():
        for name, inside in re.findall(r"\b((?:sidestream|process)_\w+)\{([^}]*)\}", expression):
            assert name in labels, f"no metric {name}: {expression}"
            wanted = set(re.findall(r'(\w+)(?:=~?|!=)"', inside)) - OF_KUBERNETES
            assert wanted <= labels[name], f"{name} has no {wanted - labels[name]}"
