"""Client libraries of Debian and npm, doing what their users do: the same output as from a stock server.

Happy path: a script of tests/clients runs against a lone server, then through an instance with two replicas, on
`listen` and on `service-listen`; what it prints is equal, line by line, and some of its reads were served by replicas.
Failure modes: a library that is not installed skips its tests and says so.
"""

import os
import shutil
import subprocess

import pytest

import harness
from harness import HOST, ROOT, Lab, free_port

CLIENTS = ROOT / "tests/clients"
CACHE = ROOT / ".cache"
REDIGO = "/usr/share/gocode/src/github.com/gomodule/redigo"
SECONDS = 180


def run(words, check=True, **options):
    words = [str(word) for word in words]
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=check, **options)


def works(*words):
    return shutil.which(words[0]) is not None and run(words, check=False).returncode == 0


def interpreted(script, *language, probe):
    def prepare(_):
        if not works(*probe):
            pytest.skip(f"{script}: not installed here (deploy/packages clients)")
        return [*language, CLIENTS / script], {}
    return prepare


def compiled_c(directory):
    if not shutil.which("gcc") or not os.path.exists("/usr/include/hiredis/hiredis.h"):
        pytest.skip("hiredis: not installed here (deploy/packages clients)")
    run(["gcc", "-o", directory / "hiredis", CLIENTS / "hiredis.c", "-lhiredis"])
    return [directory / "hiredis"], {}


def compiled_go(directory):
    if not shutil.which("go") or not os.path.isdir(REDIGO):
        pytest.skip("redigo: not installed here (deploy/packages clients)")
    environment = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(CACHE / "go-build")}
    run(["go", "build", "-o", directory / "redigo", CLIENTS / "redigo.go"], env={**os.environ, **environment})
    return [directory / "redigo"], {}


def from_npm(script, package):
    """Installed once into .cache; without npm, or where it reaches nothing, skipped."""
    def prepare(_):
        place = CACHE / "npm" / package
        if not (place / "node_modules" / package).is_dir():
            if not shutil.which("npm"):
                pytest.skip(f"{package}: no npm here")
            place.mkdir(parents=True, exist_ok=True)
            try:
                run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", place, package])
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                pytest.skip(f"{package}: npm could not install it")
        return ["node", CLIENTS / script], {"NODE_PATH": str(place / "node_modules")}
    return prepare


LIBRARIES = {
    "python3-redis": interpreted("redis_py.py", "/usr/bin/python3", probe=("/usr/bin/python3", "-c", "import redis")),
    "php-redis": interpreted("php_redis.php", "php", probe=("php", "-r", "exit(class_exists('Redis') ? 0 : 1);")),
    "predis": interpreted("predis.php", "php", probe=("php", "-r", "require 'Predis/autoload.php';")),
    "ruby-redis": interpreted("redis_rb.rb", "ruby", probe=("ruby", "-e", "require 'redis'")),
    "perl Redis": interpreted("redis_pm.pl", "perl", probe=("perl", "-MRedis", "-e", "1")),
    "lua-redis": interpreted("redis_lua.lua", "lua5.1", probe=("lua5.1", "-e", "require 'redis'")),
    "hiredis": compiled_c,
    "redigo": compiled_go,
    "ioredis": from_npm("ioredis.js", "ioredis"),
    "node-redis": from_npm("node_redis.js", "redis"),
}


@pytest.fixture(scope="module")
def group():
    """(a lone server, an instance with a primary and two replicas, its service port)"""
    if not harness.BINARY.exists():
        pytest.skip(f"{harness.BINARY} is not built")
    lab = Lab()
    try:
        lone, *nodes = lab.servers(4)
        service = free_port()
        yield lone, lab.instance(nodes, service_listen=f"{HOST}:{service}"), service
    finally:
        lab.close()


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_output_as_from_a_stock_server(group, library, tmp_path):
    lone, instance, service = group
    words, environment = LIBRARIES[library](tmp_path)
    environment = {**os.environ, **environment}

    def output(port):
        done = run([*words, HOST, port], check=False, env=environment)
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.splitlines()
    expected = output(lone.port)
    assert len(expected) > 15, expected
    before = instance.counters()["reads_replica"]
    assert output(instance.port) == expected
    assert output(service) == expected
    assert instance.counters()["reads_replica"] > before, "replicas took part"
