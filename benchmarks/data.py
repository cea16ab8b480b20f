"""Rows a second from files to training windows, and the memory it takes.

    python benchmarks/data.py FOLDER                    every bar file below FOLDER into a lake, checked, split, packed
    python benchmarks/data.py --series 1000 --rows 5000  a lake of made-up series

Each stage runs in a process of its own and is told with its peak memory; a stage whose memory does not grow with the
lake is flat.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def fill(place: Path, series: int, rows: int) -> int:
    """A lake of random walks."""
    from kronos.data import Key, Lake, Origin

    lake, random = Lake.open(place, create=True), np.random.default_rng(0)
    times = pd.date_range("2015-01-01", periods=rows, freq="1h", unit="ns", name="timestamp")
    for number in range(series):
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, rows)))
        open_ = np.r_[100.0, close[:-1]]
        high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
        volume = random.lognormal(5, 1, rows)
        bars = {"open": open_, "high": high, "low": low, "close": close, "volume": volume, "amount": volume * close}
        lake.write(Key("made-up", f"S{number:05d}", "1h"), pd.DataFrame(bars, index=times), Origin("import", "random"))
    return series * rows


def bring(place: Path, folder: Path) -> int:
    """Import a folder."""
    from kronos.data import Imported, Lake, Refused, import_bars

    done = list(import_bars(Lake.open(place, create=True), folder))
    refused = [one for one in done if isinstance(one, Refused)]
    assert not refused, refused[:3]
    return sum(one.written.added for one in done if isinstance(one, Imported))


def enumerate_(place: Path) -> int:
    """List the series."""
    from kronos.data import Lake

    return sum(entry.rows for entry in Lake.open(place).entries())


def look(place: Path) -> int:
    """Check every series."""
    from kronos.data import Lake, check_lake

    return sum(one.rows for one in check_lake(Lake.open(place)))


def read(place: Path) -> int:
    """Read all series and index their windows."""
    from kronos.data import Windows, load_series

    series = load_series(place)
    assert len(Windows(series, 90, 10))
    return sum(len(one) for one in series)


def divide(place: Path) -> int:
    """Split into packs."""
    from kronos.data import Lake, export_split, split_by_ratio, timelines

    lake = Lake.open(place)
    entries = lake.entries()
    plan = split_by_ratio(timelines(lake, entries), 90, 10)
    out = place.with_name("split")
    export_split(lake, entries, plan, out, "pack")
    return sum(entry.rows for entry in entries)


def serve(place: Path) -> int:
    """Open the training pack and draw batches of 64 windows of 400 bars; the bars drawn."""
    from kronos.data import Windows, WindowSampler, load_series

    sampler = WindowSampler(Windows(load_series(place.with_name("split") / "train"), 300, 100), 64, 0)
    return sum(sampler(step).bars.shape[0] * 400 for step in range(500))


def measured(stage: Callable[..., int], *arguments: Any) -> dict[str, float]:
    """Run a stage in a fresh process: rows, seconds, and how much memory it had at most (MB)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_inside, (stage, arguments))


def _inside(stage: Callable[..., int], arguments: tuple[Any, ...]) -> dict[str, float]:
    import kronos.data  # noqa: F401 - loading is not what is measured

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    rows = stage(*arguments)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "seconds": seconds, "rows_per_second": rows / seconds, "base_mb": base, "peak_mb": peak}


def main() -> None:
    """Run all stages and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place, figures = Path(folder) / "lake", {}
        begin = (
            ("fill", fill, (place, options.series, options.rows))
            if options.folder is None
            else ("import", bring, (place, options.folder))
        )
        stages = [begin] + [
            (name, stage, (place,))
            for name, stage in (
                ("list", enumerate_), ("read + index", read), ("check", look), ("split", divide), ("serve", serve)
            )
        ]  # fmt: skip
        print(f"{'stage':<14}{'bars':>12}{'seconds':>10}{'bars/s':>14}{'peak MB':>10}{'(at start)':>12}")
        for name, stage, arguments in stages:
            figures[name] = one = measured(stage, *arguments)
            print(
                f"{name:<14}{one['rows']:>12,.0f}{one['seconds']:>10.2f}{one['rows_per_second']:>14,.0f}"
                f"{one['peak_mb']:>10.0f}{one['base_mb']:>12.0f}",
                flush=True,
            )
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
