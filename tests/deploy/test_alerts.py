"""Alerts: valid, fire when they should (promtool), speak of metrics that the product has, and have a runbook."""

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from tls_files import Authority

ALERTS = ROOT / "deploy/helm/files/alerts.yaml"
CASES = Path(__file__).with_name("alerts_test.yaml")


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments, cwd=None):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian's prometheus)")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def test_valid():
    promtool("check", "rules", ALERTS)


def test_they_fire(tmp_path):
    for path in (ALERTS, CASES):
        shutil.copy(path, tmp_path)
    promtool("test", "rules", CASES.name, cwd=tmp_path)


def test_every_alert_has_a_case_that_fires_it():
    fired = {case["alertname"] for test in yaml.safe_load(CASES.read_text())["tests"]
             for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules()}


def test_their_metrics_exist(lab):
    cert, key = Authority(lab.dir / "tls").issue("front")
    instance = lab.instance(lab.servers(2), start=False, tls={"listen-cert": str(cert), "listen-key": str(key)})
    instance.config["listen"] = f"tcp://{instance.address}"
    instance.start().wait_up().wait_online()
    with urllib.request.urlopen(f"http://127.0.0.1:{instance.admin_port}/metrics") as answer:
        names = set(re.findall(r"^(sidestream_\w+)", answer.read().decode(), re.M))
    used = {name for rule in rules() for name in re.findall(r"sidestream_\w+", rule["expr"])}
    assert used and used <= names
