#!/usr/bin/env python3
"""plain_manifests.py: writes deploy/kubernetes/*.yaml from the chart, for those without Helm; a test compares them."""

import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from charts import render  # noqa: E402
from conftest import ROOT  # noqa: E402

PLACE = ROOT / "deploy/kubernetes"
HEAD = """# {about}
# Written by tests/deploy/plain_manifests.py from the chart in deploy/helm: change that, or patch this with Kustomize.
# The image is the one that you built with deploy/image/Dockerfile and pushed; kustomization.yaml puts its name in.
"""
IMAGE = {"image": {"repository": "sidestream"}}
FILES = {
    "stack.yaml": ("Valkey with a proxy in every pod, three Sentinels, and the Services in front.", IMAGE),
    "gateway.yaml": ("One proxy in front of servers that exist already: name them in the ConfigMap.",
                     {**IMAGE, "mode": "gateway", "gateway": {"nodes": ["redis-0.redis:6379", "redis-1.redis:6379"]}}),
}


class Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; lists indented."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def without_helm(value):
    """Labels and annotations that only Helm understands go."""
    if isinstance(value, list):
        return [without_helm(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {key: without_helm(inner) for key, inner in value.items()
            if key not in ("helm.sh/chart", "app.kubernetes.io/managed-by")}


def manifests(values):
    rendered = render(values, release="sidestream", namespace="sidestream").manifests
    return [without_helm(manifest) for manifest in rendered if manifest["kind"] != "Pod"]


def text_of(name):
    about, values = FILES[name]
    parts = [yaml.dump(manifest, Dumper=Dumper, sort_keys=False, width=200) for manifest in manifests(values)]
    return HEAD.format(about=about) + "---\n" + "---\n".join(parts)


if __name__ == "__main__":
    for name in FILES:
        (PLACE / name).write_text(text_of(name))
