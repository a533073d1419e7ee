"""Fixtures for what people run Sidestream with: the lab of the integration tests, and the package as built."""

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/integration"), str(Path(__file__).parent)]

import harness  # noqa: E402  (it is in the other directory)

CACHE = Path(os.environ.get("SIDESTREAM_TEST_CACHE") or ROOT / ".cache")


@contextlib.contextmanager
def alone(what):
    """While something is put into the cache: tests run beside each other."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{what}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pytest_configure(config):
    if not harness.BINARY.exists():
        pytest.exit(f"{harness.BINARY} is not built", returncode=2)


@pytest.fixture
def lab():
    lab = harness.Lab()
    yield lab
    lab.close()


def build_directory():
    """The Meson build that the binary under test comes from."""
    return harness.BINARY.resolve().parents[2]


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The Debian package twice: the second time as the next revision, for an upgrade."""
    place = tmp_path_factory.mktemp("package")
    return [Path(subprocess.run([ROOT / "deploy/package", "--build", build_directory(), "--output", place, "--revision",
                                 revision], check=True, capture_output=True, text=True).stdout.strip())
            for revision in ("1", "2")]
