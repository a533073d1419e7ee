"""The figures as tables for people; the JSON file holds everything, with every round."""

import statistics

from client_bench import LOADS, PEERS, RELAY


def client_tables(result):
    for load, cells in result["loads"].items():
        yield f"{LOADS[load][0]}"
        yield (f"  {'':22}{'requests/s':>11}{'of direct':>10}{'(range)':>14}{'proxy µs':>10}{'of floor':>9}"
               f"{'of best peer':>13}{'servers µs':>11}{'p50 µs':>9}{'p99 µs':>9}")
        for name, cell in cells.items():
            spread = "{:.2f}-{:.2f}".format(*cell["rps_of_direct_range"] or (0, 0))
            yield (f"  {name:22}{cell['rps']:11,.0f}{blank_zero(cell['rps_of_direct'], 10, 2)}{spread:>14}"
                   f"{blank_zero(cell['proxy_us'], 10, 2)}{blank_zero(cell.get('cpu_of_floor'), 9, 2)}"
                   f"{blank_zero(cell.get('cpu_of_best_peer'), 13, 2)}{blank_zero(cell['servers_us'], 11, 2)}"
                   f"{cell['p50_us']:9.0f}{cell['p99_us']:9.0f}")
        if cells.get("sidestream", {}).get("rps_of_eventual"):
            yield f"  reads: fresh against eventual: {cells['sidestream']['rps_of_eventual']:.2f} × the requests/s"
        if {"sidestream", "floor", RELAY} <= set(cells):
            yield less_the_relay(cells)
        yield ""
    if "idle" in result:
        idle = dict(result["idle"])
        yield f"{idle.pop('clients'):,} idle clients, resident memory of the proxy"
        for name, cell in idle.items():
            size = f"{cell['kb_per_client']:.2f} KB each, {cell['answered']:,} answered" if "answered" in cell else ""
            yield f"  {name:22}{size or cell['refused']}"
        yield ""


def less_the_relay(cells):
    """What the same service costs as the peers offer: they leave the replicas to the primary."""
    own = cells["sidestream"]["proxy_us"] - cells[RELAY]["proxy_us"]
    peers = [cells[name]["proxy_us"] for name in PEERS if name in cells]
    of_peer = f", {own / min(peers):.2f} × best peer" if peers else ""
    return f"  sidestream less the relay: {own:.2f} µs, {own / cells['floor']['proxy_us']:.2f} × floor{of_peer}"


def tls_tables(result):
    for load, cells in result["loads"].items():
        yield f"TLS towards the clients: {LOADS[load][0]}"
        yield (f"  {'':22}{'requests/s':>11}{'proxy µs':>10}{'(for TLS)':>11}{'servers µs':>11}{'p50 µs':>9}"
               f"{'p99 µs':>9}")
        for name, cell in cells.items():
            plain = cells.get(name.removesuffix("-tls"), cell)
            extra = cell["proxy_us"] - plain["proxy_us"]
            yield (f"  {name:22}{cell['rps']:11,.0f}{blank_zero(cell['proxy_us'], 10, 2)}{blank_zero(extra, 11, 2)}"
                   f"{blank_zero(cell['servers_us'], 11, 2)}{cell['p50_us']:9.0f}{cell['p99_us']:9.0f}")
        yield ""


FLOOR, PEER = ("proxy CPU / floor", "cpu_of_floor"), ("proxy CPU / best peer", "cpu_of_best_peer")
DIRECT, P99 = ("requests/s / direct", "rps_of_direct"), ("p99 / best peer", "p99_of_best_peer")
EVENTUAL = ("fresh / eventual, requests/s", "rps_of_eventual")
BARS = (  # load, what is compared and where it stands in the cell, the bar, whether it is a ceiling
    ("get", FLOOR, 1.2, True), ("get", PEER, 0.85, True), ("get", DIRECT, 1.0, False),
    ("set", FLOOR, 1.2, True), ("set", PEER, 0.85, True), ("set", DIRECT, 1.0, False),
    ("get-p16", FLOOR, 1.6, True), ("get-p16", PEER, 0.7, True), ("get-p16", DIRECT, 0.8, False),
    ("set-p16", FLOOR, 1.6, True), ("set-p16", PEER, 0.7, True), ("set-p16", DIRECT, 0.8, False),
    ("get-1", DIRECT, 0.6, False), ("get-1", P99, 1.0, True),
    ("get-16k", PEER, 0.95, True), ("get-16k", DIRECT, 0.9, False),
    ("mix", EVENTUAL, 0.9, False), ("mix-p16", EVENTUAL, 0.9, False),
)
IDLE_KB_MAX = 2.0


def bars_table(result):
    """What is aimed at, beside what was measured."""
    yield f"  {'':45}{'':30}{'measured':>9}{'bar':>10}"
    for load, (what, field), bar, ceiling in BARS:
        figure = result["loads"].get(load, {}).get("sidestream", {}).get(field)
        yield bar_line(LOADS[load][0], what, figure, bar, ceiling)
    idle = result.get("idle", {"clients": 0})
    figure = idle.get("sidestream", {}).get("kb_per_client")
    yield bar_line(f"{idle['clients']:,} idle clients", "KB each", figure, IDLE_KB_MAX, True)
    yield ""


def bar_line(load, what, figure, bar, ceiling):
    aim = f"{'≤' if ceiling else '≥'} {bar:g}"
    if figure is None:
        return f"  {load:45}{what:30}{'-':>9}{aim:>10}"
    reached = figure <= bar if ceiling else figure >= bar
    return f"  {load:45}{what:30}{figure:9.2f}{aim:>10}  {'yes' if reached else 'NO'}"


def replication_tables(result):
    for rate, cells in result["latency"].items():
        yield f"Latency of a write until the end of the stream, {int(rate):,} writes/s (added by the hop in brackets)"
        yield header("mean µs", "p50 µs", "p99 µs", "p99.9 µs", "hop CPU µs/write")
        for name, cell in cells.items():
            columns = [f"{cell[f]:.0f}" + (f" ({cell['added_' + f]:+.0f})" if "added_" + f in cell else "")
                       for f in ("mean_us", "p50_us", "p99_us", "p999_us")]
            yield f"  {name:12}" + "".join(f"{c:>18}" for c in columns) + blank_zero(cell["cpu_us_per_write"], 18, 2)
        yield ""
    for sinks, cells in result["throughput"].items():
        yield f"Stream from a synthetic primary to {sinks} replica{'s' if sinks != '1' else ''}"
        yield header("MB/s to each", "hop CPU s/GB", "hop memory MB", "before MB")
        for name, cell in cells.items():
            yield (f"  {name:12}{cell['mb_per_s']:18,.0f}{blank_zero(cell['cpu_s_per_gb'], 18, 2)}"
                   f"{blank_zero(cell['hop_kb'] / 1024, 18, 1)}{blank_zero(cell['hop_base_kb'] / 1024, 18, 1)}")
        yield ""
    if not result["full_sync"]:
        return
    first = next(iter(result["full_sync"].values()))
    counts = [key for key in first if key.isdigit()]
    size = first[counts[0]]["snapshot_bytes"] / 1e6
    yield f"Full sync, snapshot of {size:.0f} MB: seconds until the last of N replicas that attach at once has it"
    yield header(*(f"N = {n}" for n in counts), "forks on primary", "hop peak MB")
    for name, cell in result["full_sync"].items():
        yield (f"  {name:12}" + "".join(f"{cell[n]['last_s']:18.3f}" for n in counts) + f"{cell['forks_on_primary']:18}"
               + blank_zero(cell["hop_peak_kb"] / 1024, 18, 1))
    yield ""


BACKLOG_MB = 64  # the default, with which it is measured


def replication_figures(result):
    """(what, figure or None, bar, whether it is a ceiling), for the bars below the tables."""
    def cell(part, key, name):
        return result.get(part, {}).get(key, {}).get(name, {})

    def ratio(mine, other, field):
        return mine[field] / other[field] if mine.get(field) and other.get(field) else None

    for rate in result["latency"]:
        mine = cell("latency", rate, "sidestream")
        yield f"added latency at {int(rate):,} writes/s, mean, µs", mine.get("added_mean_us"), 100, True
        yield f"added latency at {int(rate):,} writes/s, p99.9, µs", mine.get("added_p999_us"), 1000, True
    one, relay = cell("throughput", "1", "sidestream"), cell("throughput", "1", "haproxy")
    yield "stream to one replica / HAProxy, bytes per second", ratio(one, relay, "mb_per_s"), 0.8, False
    yield "stream to one replica / HAProxy, CPU per GB", ratio(one, relay, "cpu_s_per_gb"), 1.0, True
    mine, direct = result["full_sync"].get("sidestream", {}), result["full_sync"].get("direct", {})
    for count, words, bar in (("1", "the first replica", 1.15), ("4", "four more", 1.0)):
        yield (f"full sync of {words} / direct, time", ratio(mine.get(count, {}), direct.get(count, {}), "last_s"), bar,
               True)
    yield "forks of the primary for all five", mine.get("forks_on_primary"), 1, True
    peak = mine.get("hop_peak_kb")
    yield "peak memory during it, MB", peak / 1024 if peak else None, 20 + BACKLOG_MB, True


def replication_bars(result):
    """What is aimed at, beside what was measured."""
    for what, figure, bar, ceiling in replication_figures(result):
        yield bar_line(what, "", figure, bar, ceiling)
    yield ""


def behaviour_tables(result):
    if result.get("memory"):
        names = list(next(iter(result["memory"].values())))
        yield "Resident memory after the primary was filled, MB"
        yield header(*names)
        for size, cell in result["memory"].items():
            yield f"  {size + ' MB':12}" + "".join(f"{cell[name]:18,.0f}" for name in names)
        yield ""
    if "switch" in result:
        pauses = result["switch"]["pauses_ms"]
        yield (f"Planned switch, {len(pauses)} times: slowest reply of a client that never stops writing: "
               f"median {statistics.median(pauses):.0f} ms, worst {max(pauses):.0f} ms; usually "
               f"{result['switch']['usual_ms']:.2f} ms")
        yield ""
    if result.get("freshness"):
        yield "reads: fresh, the same 100,000 keys written and read: share of the reads that replicas answered"
        for rate, cell in result["freshness"].items():
            yield f"  {int(rate):>8,} writes/s wanted, {cell['writes_per_s']:>8,.0f} done {100 * cell['share']:9.1f} %"
        yield ""


def header(*columns):
    return f"  {'':12}" + "".join(f"{column:>18}" for column in columns)


def blank_zero(number, width, digits):
    return f"{number:{width}.{digits}f}" if number else " " * (width - 1) + "-"
