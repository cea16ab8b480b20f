"""Does a forecast in a loop slow down, leak or leave anything running?

    python benchmarks/soak.py --forecasts 300

Forecasts a sample market over and over with the embedded model and prints, for the first and the last fifth: the median
time, the process's memory and its threads; and at the end how much of the processors it uses when it has nothing to do.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import kronos


def memory() -> float:
    """Megabytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasts", type=int, default=300)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--samples", type=int, default=30)
    options = parser.parse_args()
    model, bars = kronos.load("nano", backend=options.backend), kronos.sample_bars("crypto", rows=424)
    times, sizes, threads = [], [], []
    for number in range(options.forecasts):
        began = time.perf_counter()
        model.forecast(bars.iloc[: 400 + number % 24], 24, samples=options.samples)
        times.append(time.perf_counter() - began)
        sizes.append(memory())
        threads.append(len(os.listdir("/proc/self/task")))
    fifth = max(options.forecasts // 5, 1)
    print(f"{options.forecasts} forecasts of 24 bars x {options.samples} paths, backend {model.backend.name}")
    for name, part in (("first fifth", slice(0, fifth)), ("last fifth", slice(-fifth, None))):
        told = f"{statistics.median(times[part]) * 1000:.1f} ms, {statistics.median(sizes[part]):.0f} MB"
        print(f"{name}: {told}, {max(threads[part])} threads")
    before = time.process_time()
    time.sleep(2)
    print(f"at rest: {(time.process_time() - before) / 2:.2%} of a core")


if __name__ == "__main__":
    main()
