"""Fixtures: a lab per test, the matrix of server binaries, logs of every process when a test fails."""

import os

import pytest

import harness


def pytest_configure(config):
    if os.environ.get("SIDESTREAM_BINARY") and not harness.BINARY.exists():
        pytest.exit(f"SIDESTREAM_BINARY names {harness.BINARY}, which does not exist", returncode=2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    funcargs = getattr(item, "funcargs", {})
    lab = funcargs.get("lab") or getattr(funcargs.get("pair"), "lab", None)
    if report.failed and lab is not None:
        for process in lab.processes:
            report.sections.append((f"log of {process.name} (port {process.port})", process.log_tail()))


@pytest.fixture
def lab():
    lab = harness.Lab()
    yield lab
    lab.close()


@pytest.fixture
def binary():
    """Requires the product; tests of stock behaviour do not take this fixture."""
    if not harness.BINARY.exists():
        pytest.skip(f"{harness.BINARY} is not built")
    return harness.BINARY


@pytest.fixture(params=harness.server_binaries() or [None],
                ids=lambda path: os.path.basename(path) if path else "none")
def server_binary(request):
    if request.param is None:
        pytest.skip("no redis-server in PATH and SIDESTREAM_TEST_SERVERS is empty")
    return request.param


@pytest.fixture(params=["stock", "instance"])
def subject(request):
    """Tests that take it run twice: against a stock server (the test's own test), then against an instance."""
    if request.param == "instance" and not harness.BINARY.exists():
        pytest.skip(f"{harness.BINARY} is not built")
    return request.param


@pytest.fixture
def front(lab, subject):
    """(what clients and replicas talk to, the primary behind it): the same server for stock."""
    primary = lab.server(name="primary", repl_ping_replica_period=3600)
    if subject == "stock":
        return primary, primary
    return lab.instance([primary]), primary


class Pair:
    """A stock server and a subject side by side; connections to both, and the same request to both."""

    def __init__(self, stock, front, nodes):
        self.stock, self.front, self.nodes = stock, front, nodes

    def clients(self, **options):
        return self.stock.client(**options), self.front.client(**options)


@pytest.fixture(scope="module", params=["stock", "instance"])
def pair(request):
    """For differential tests: two plain servers, then a server and an instance with a primary and two replicas."""
    if request.param == "instance" and not harness.BINARY.exists():
        pytest.skip(f"{harness.BINARY} is not built")
    lab = harness.Lab()
    try:
        stock, primary = lab.server(name="stock"), lab.server(name="primary")
        nodes = [primary]
        if request.param == "instance":
            nodes += lab.servers(2)
            front = lab.instance(nodes)
        else:
            front = primary
        pair = Pair(stock, front, nodes)
        pair.lab = lab
        yield pair
    finally:
        lab.close()


@pytest.fixture
def sides(pair):
    """Fresh connections to both sides of the pair, databases empty."""
    for side in (pair.stock, pair.front):
        side("FLUSHALL")
    expected, actual = pair.clients()
    yield expected, actual
    expected.close()
    actual.close()
