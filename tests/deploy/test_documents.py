"""README and operations guide: every example is run, every link and every alert's runbook is there."""

import os
import re
import shutil

import pytest
import yaml

from charts import CHART
from conftest import ROOT
from harness import BINARY
from transcripts import matches, run, sections, steps

DOCUMENTS = ["README.md", "deploy/README.md", "deploy/scale.md", ".github/CONTRIBUTING.md", "tests/README.md",
             "tests/deploy/README.md"]
EXAMPLES = [(name, heading) for name in DOCUMENTS for heading in sections((ROOT / name).read_text())]


@pytest.mark.parametrize("name, heading", EXAMPLES, ids=[heading for _, heading in EXAMPLES])
def test_example(name, heading, tmp_path):
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("a loopback of its own takes root and iproute2")
    run(sections((ROOT / name).read_text())[heading], tmp_path, BINARY.resolve().parent)


def test_readme_has_the_three_uses():
    headings = sections((ROOT / "README.md").read_text())
    assert {"As a sidecar", "To scale reads", "As a gateway for legacy applications"} <= set(headings)


def test_an_example_that_lies_is_found(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a loopback of its own takes root")
    with pytest.raises(AssertionError, match="wanted:\nthree"):
        run(steps(["$ echo one", "one", "$ cat <<END", "two", "END", "two", "$ echo four", "three"]), tmp_path, "/bin")
    assert matches("a … c", "a b c") and not matches("a … c", "a b d")


def anchors(text):
    """As GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]*(?:#[^)]*)?)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(there.read_text()), f"{name}: {target}"


def test_every_alert_has_its_runbook():
    rules = [rule for group in yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
             for rule in group["rules"]]
    there = anchors((ROOT / "deploy/README.md").read_text())
    for rule in rules:
        file, anchor = rule["annotations"]["runbook"].split("#")
        assert file == "deploy/README.md" and anchor == rule["alert"].lower() and anchor in there, rule["alert"]
