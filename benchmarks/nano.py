"""Is the embedded model's distribution any good? CRPS and coverage beside a Gaussian of 20-bar volatility.

    python benchmarks/nano.py FOLDER --since 2025-07-01 --origins 4

Rolling origins over every bar file below FOLDER: look-back 400, horizon 24. CRPS is that of the cumulative log return
divided by (deviation of the last 100 one-bar log returns x sqrt(h)), averaged over the horizons 1, 6, 12 and 24.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

import kronos
from kronos.data import bar_files, read_bars
from kronos.errors import BarsError

LOOKBACK, HORIZON, STEPS = 400, 24, (1, 6, 12, 24)


def crps(paths: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fair CRPS (steps,) of samples (S, steps)."""
    count = len(paths)
    ordered = np.sort(paths, axis=0)
    weights = 2 * np.arange(1, count + 1) - count - 1
    spread = (weights[:, None] * ordered).sum(axis=0) / (count * (count - 1))
    return np.abs(paths - truth).mean(axis=0) - spread


def windows(
    folder: Path, since: str, origins: int, least: int, lookback: int = LOOKBACK
) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """(group, past, future) at evenly spaced origins of every file."""
    found = []
    for path in bar_files(folder):
        try:
            bars = read_bars(path)
        except BarsError:
            continue
        low = max(int(bars.index.searchsorted(pd.Timestamp(since))), least)
        if low + HORIZON > len(bars):
            continue
        group = f"{path.parent.name} {path.stem.rpartition('_')[2]}"
        for start in np.unique(np.linspace(low, len(bars) - HORIZON, origins).astype(int)):
            found.append((group, bars.iloc[max(start - lookback, 0) : start], bars.iloc[start : start + HORIZON]))
    return found


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark over origins can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--since", default="1900-01-01")
    parser.add_argument("--origins", type=int, default=4)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--samples", type=int, default=100)
    return parser


def main() -> None:
    """Score and print a table."""
    parser = arguments(__doc__)
    options = parser.parse_args()
    model = kronos.load(options.model)
    cases = windows(options.folder, options.since, options.origins, least=LOOKBACK)
    began = time.monotonic()
    made = []
    for first in range(0, len(cases), 32):
        some = cases[first : first + 32]
        times = [future.index for _, _, future in some]
        made += model.forecast([past for _, past, _ in some], HORIZON, samples=options.samples, y_timestamp=times)
    seconds = time.monotonic() - began
    at = np.array(STEPS) - 1
    random = np.random.default_rng(0)
    rows = []
    for (group, past, future), forecast in zip(cases, made, strict=True):
        last = past["close"].iloc[-1]
        truth = np.log(future["close"].to_numpy() / last)[at]
        changes = np.diff(np.log(past["close"].to_numpy()))
        unit = max(changes[-100:].std(), 1e-9) * np.sqrt(at + 1)
        shocks = random.standard_normal((options.samples, HORIZON)).cumsum(axis=1)[:, at] * changes[-20:].std()
        for name, paths in (("nano", forecast.returns()[:, at]), ("hv20", shocks)):
            score = (crps(paths, truth) / unit).mean()
            inside = [
                ((truth >= np.quantile(paths, tail, axis=0)) & (truth <= np.quantile(paths, 1 - tail, axis=0))).mean()
                for tail in (0.25, 0.05)
            ]
            rows.append((group, name, score, *inside))
    table = pd.DataFrame(rows, columns=["group", "model", "crps", "cover50", "cover90"])
    shown = table.groupby(["group", "model"]).mean().unstack()
    shown.columns = [f"{score} {model}" for score, model in shown.columns]
    print(shown.round(3).assign(origins=table.groupby("group").size() // 2).to_string())
    overall = table.groupby("model")[["crps", "cover50", "cover90"]].mean()
    print(overall.round(4).to_string())
    ratio = overall["crps"]["nano"] / overall["crps"]["hv20"]
    print(f"{len(cases)} origins, CRPS ratio nano / hv20 {ratio:.4f}, {seconds / max(len(cases), 1):.3f} s a forecast")


if __name__ == "__main__":
    main()
