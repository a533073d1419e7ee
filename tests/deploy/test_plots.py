"""Plots: every kind of figure that a benchmark writes becomes an SVG that states machine, versions and command."""

import importlib.machinery
import importlib.util
import xml.etree.ElementTree as ElementTree

from conftest import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def plot_program():
    loader = importlib.machinery.SourceFileLoader("plot", str(ROOT / "tests/bench/plot"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("plot", loader))
    loader.exec_module(module)
    return module


def figures():
    cell = {"rps_of_direct": 0.5, "rps_of_direct_range": [0.4, 0.6], "proxy_us": 6.0, "p99_us": 900}
    return {
        "time": "2026-01-01T00:00:00Z", "command": "tests/bench/run --rounds 3",
        "machine": {"cpu": "A <fast> & cheap CPU", "cores": 2, "memory_mb": 4096, "kernel": "6.1",
                    "load_average_at_start": 0.1},
        "versions": {"redis": "Redis server v=7.0.15 sha=0", "sidestream": "sidestream 0.1.0 (g++ 12)"},
        "settings": {"rounds": 3, "seconds": 3, "quick": False},
        "clients": {"loads": {"get": {"direct": {**cell, "rps_of_direct": 1.0, "proxy_us": 0}, "sidestream": cell}},
                    "idle": {"clients": 9800, "sidestream": {"kb_per_client": 2.04, "answered": 9800}}},
        "replication": {
            "latency": {"1000": {"direct": {"p50_us": 50}, "sidestream": {"p50_us": 100}}},
            "throughput": {"1": {"chain": {"mb_per_s": 100, "hop_kb": 2048},
                                 "sidestream": {"mb_per_s": 800, "hop_kb": 1024}}},
            "full_sync": {"sidestream": {"1": {"last_s": 1.0}, "4": {"last_s": 2.0}, "forks_on_primary": 1}}},
        "tls": {"loads": {"get": {"direct": {"proxy_us": 0}, "sidestream": {"proxy_us": 6},
                                  "sidestream-tls": {"proxy_us": 8}}}},
        "behaviour": {"memory": {"50": {"chain": 66, "sidestream": 13}},
                      "switch": {"pauses_ms": [40.0, 50.0], "usual_ms": 0.1},
                      "freshness": {"1000": {"share": 0.75, "reads": 9, "writes_per_s": 1000}}}}


def drawn(path):
    """Its texts, and the lengths of its bars; the first rectangle is the paper."""
    root = ElementTree.parse(path).getroot()
    return {"texts": [text.text for text in root.iter(f"{SVG}text")],
            "widths": [float(rect.get("width")) for rect in root.iter(f"{SVG}rect")][1:]}


def test_every_kind_of_figure_is_drawn(tmp_path):
    written = plot_program().draw(figures(), tmp_path)
    assert set(written) == {f"{name}.svg" for name in (
        "clients-throughput", "clients-cpu", "clients-p99", "clients-idle", "replication-latency", "replication-stream",
        "replication-memory", "replication-full-sync", "memory-by-dataset", "switch-pauses", "freshness-share",
        "tls-cpu")}
    for name in written:
        words = " ".join(drawn(tmp_path / name)["texts"])
        assert "tests/bench/run --rounds 3" in words and "A <fast> & cheap CPU, 2 cores" in words
        assert "Redis server v=7.0.15; sidestream 0.1.0" in words


def test_bars_are_as_long_as_their_figures(tmp_path):
    plot_program().draw(figures(), tmp_path)
    chain, sidestream = drawn(tmp_path / "replication-stream.svg")["widths"]
    assert abs(sidestream / chain - 8) < 0.01
    assert "1 replica" in drawn(tmp_path / "replication-stream.svg")["texts"]


def test_what_was_not_measured_is_not_drawn(tmp_path):
    only = {key: value for key, value in figures().items() if key not in ("replication", "behaviour", "tls")}
    assert all(name.startswith("clients-") for name in plot_program().draw(only, tmp_path))
