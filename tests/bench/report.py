"""The figures as tables for people; the JSON file holds everything, with every round."""

import statistics

from client_bench import LOADS


def client_tables(result):
    for load, cells in result["loads"].items():
        yield f"{LOADS[load][0]}"
        yield (f"  {'':22}{'requests/s':>11}{'of direct':>10}{'(range)':>14}{'proxy µs':>10}{'of floor':>9}"
               f"{'of best peer':>13}{'servers µs':>11}{'p50 µs':>9}{'p99 µs':>9}")
        for name, cell in cells.items():
            low, high = cell["rps_of_direct_range"]
            yield (f"  {name:22}{cell['rps']:11,.0f}{cell['rps_of_direct']:10.2f}{f'{low:.2f}-{high:.2f}':>14}"
                   f"{blank_zero(cell['proxy_us'], 10, 2)}{blank_zero(cell.get('cpu_of_floor'), 9, 2)}"
                   f"{blank_zero(cell.get('cpu_of_best_peer'), 13, 2)}{blank_zero(cell['servers_us'], 11, 2)}"
                   f"{cell['p50_us']:9.0f}{cell['p99_us']:9.0f}")
        if "sidestream-eventual" in cells:
            rounds = zip(cells["sidestream"]["rounds"], cells["sidestream-eventual"]["rounds"])
            ratio = statistics.median(fresh["rps"] / eventual["rps"] for fresh, eventual in rounds)
            yield f"  reads: fresh against eventual: {ratio:.2f} × the requests/s"
        yield ""
    if "idle" in result:
        idle = dict(result["idle"])
        yield f"{idle.pop('clients'):,} idle clients, resident memory of the proxy"
        for name, cell in idle.items():
            size = f"{cell['kb_per_client']:.2f} KB each, {cell['answered']:,} answered" if "answered" in cell else ""
            yield f"  {name:22}{size or cell['refused']}"
        yield ""


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
    first = next(iter(result["full_sync"].values()))
    counts = [key for key in first if key.isdigit()]
    size = first[counts[0]]["snapshot_bytes"] / 1e6
    yield f"Full sync, snapshot of {size:.0f} MB: seconds until the last of N replicas that attach at once has it"
    yield header(*(f"N = {n}" for n in counts), "forks on primary", "hop peak MB")
    for name, cell in result["full_sync"].items():
        yield (f"  {name:12}" + "".join(f"{cell[n]['last_s']:18.3f}" for n in counts) + f"{cell['forks_on_primary']:18}"
               + blank_zero(cell["hop_peak_kb"] / 1024, 18, 1))
    yield ""


def header(*columns):
    return f"  {'':12}" + "".join(f"{column:>18}" for column in columns)


def blank_zero(number, width, digits):
    return f"{number:{width}.{digits}f}" if number else " " * (width - 1) + "-"
