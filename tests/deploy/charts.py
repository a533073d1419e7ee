"""The chart as Kubernetes would get it: rendered by Helm's engine (render.go), checked against Kubernetes' own models.

Happy path: `render(values)` gives the manifests and the notes; what the schema refuses raises Refused, as in Helm.
Failure modes: without Go and its Debian packages, or without npm, the test that needs them is skipped and says so.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from conftest import CACHE, ROOT, alone

CHART = ROOT / "deploy/helm"
CLIENT = "@kubernetes/client-node@1.4.0"
RENDERER = Path(__file__).with_name("render.go")
GO = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-p=2"}


class Refused(Exception):
    """Helm would not install this, and says why."""


class Rendered(NamedTuple):
    manifests: list
    notes: str

    def all(self, kind):
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind, ending=""):
        found = [manifest for manifest in self.all(kind) if manifest["metadata"]["name"].endswith(ending)]
        assert len(found) == 1, f"{len(found)} {kind}s"
        return found[0]


def renderer():
    binary = CACHE / "render"
    if not binary.exists() or binary.stat().st_mtime < RENDERER.stat().st_mtime:
        if not shutil.which("go") or not Path("/usr/share/gocode/src/github.com/Masterminds/sprig").exists():
            pytest.skip("Go or Sprig is not installed (deploy/packages deploy)")
        CACHE.mkdir(exist_ok=True)
        fresh = CACHE / f"render.{os.getpid()}"
        subprocess.run(["go", "build", "-o", fresh, RENDERER], check=True, env={**os.environ, **GO})
        fresh.rename(binary)
    return binary


def merged(into, values):
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(into.get(key), dict)
        into[key] = merged(dict(into[key]), value) if both else value
    return into


def check_values(values):
    jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is not installed")
    everything = merged(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    schema = json.loads((CHART / "values.schema.json").read_text())
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(everything))
    if errors:
        raise Refused("; ".join(f"{'.'.join(map(str, error.path))}: {error.message}" for error in errors))


def render(values, release="rel", namespace="ns"):
    """`values`: a dict, or a file."""
    if isinstance(values, Path):
        values = yaml.safe_load(values.read_text())
    check_values(values)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        done = subprocess.run([renderer(), CHART, release, namespace, file.name], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr)
    text, notes = done.stdout.split("# NOTES\n")
    return Rendered([manifest for manifest in yaml.safe_load_all(text) if manifest], notes)


def install(place):
    if not shutil.which("npm"):
        pytest.skip("no npm here, so no models of Kubernetes")
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts",
                           "--prefix", place, CLIENT], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"npm could not install {CLIENT}")


def strict_findings(manifests):
    """What Kubernetes' own models say against them."""
    modules = CACHE / "npm/kubernetes/node_modules"
    with alone("npm"):
        if not (modules / "@kubernetes/client-node").is_dir():
            install(modules.parent)
    done = subprocess.run(["node", Path(__file__).with_name("strict.mjs"), modules], input=json.dumps(manifests),
                          capture_output=True, text=True)
    assert done.returncode in (0, 1) and (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout.splitlines()
