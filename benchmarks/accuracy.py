"""What the faster ways of running a network cost in accuracy.

    python benchmarks/accuracy.py FOLDER --origins 4

Over every bar file below FOLDER, at evenly spaced origins: CRPS (as in nano.py) of forecasts whose weights are held in
fewer bits, and of forecasts behind a full context whose oldest bars are recomputed away (exact) or slid out of sight
(slide). All runs draw the same random numbers, so differences are paired: the mean difference comes with its standard
error. The negative log likelihood of the true tokens is measured for the precisions, bar by bar behind the look-back.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

import kronos
from kronos.bars import fit_normaliser, time_stamps
from kronos.model import PRECISIONS, Cache, CacheShape, FoldedKronos, FoldedTokenizer, Kronos, load_pair
from nano import HORIZON, STEPS, arguments, crps, windows

CONTEXT = 512
TOGETHER = 32
RUNS: dict[str, dict[str, Any]] = {
    "float32": {"lookback": CONTEXT - HORIZON},
    "bfloat16": {"lookback": CONTEXT - HORIZON, "precision": "bfloat16"},
    "int8": {"lookback": CONTEXT - HORIZON, "precision": "int8"},
    "full context, exact": {"lookback": CONTEXT, "overflow": "exact"},
    "full context, slide": {"lookback": CONTEXT, "overflow": "slide"},
}
AGAINST = {"bfloat16": "float32", "int8": "float32", "full context, slide": "full context, exact"}

Cases = list[tuple[str, pd.DataFrame, pd.DataFrame]]


def scores(cases: Cases, name: str, model: str, samples: int) -> np.ndarray:
    """Mean scaled CRPS of every case."""
    options = dict(RUNS[name])
    forecaster = kronos.load(model, precision=options.pop("precision", "float32"))
    at, found = np.array(STEPS) - 1, []
    for first in range(0, len(cases), TOGETHER):
        some = cases[first : first + TOGETHER]
        times = [future.index for _, _, future in some]
        made = forecaster.forecast(
            [past for _, past, _ in some], HORIZON, samples=samples, y_timestamp=times, **options
        )
        for (_, past, future), forecast in zip(some, made, strict=True):
            truth = np.log(future["close"].to_numpy() / past["close"].iloc[-1])[at]
            unit = max(np.diff(np.log(past["close"].to_numpy()[-401:]))[-100:].std(), 1e-9) * np.sqrt(at + 1)
            found.append((crps(forecast.returns()[:, at], truth) / unit).mean())
    return np.array(found)


@torch.inference_mode()
def likelihoods(cases: Cases, model: str) -> dict[str, np.ndarray]:
    """Negative log likelihood of a bar's two tokens, the mean of every case, for each precision."""
    pair = load_pair(model)
    pair.network.eval()
    pair.tokenizer.eval()
    tokenizer = FoldedTokenizer(pair.tokenizer)
    networks = {precision: FoldedKronos(pair.network, precision) for precision in PRECISIONS}
    found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _, past, future in cases:
        bars = pd.concat([past.iloc[-(CONTEXT - HORIZON) :], future])
        values, length = bars.to_numpy(dtype=np.float64), len(bars) - HORIZON
        normaliser = fit_normaliser(pair.tokenizer.normaliser, values[:length], 5)
        s1, s2 = tokenizer.encode(torch.from_numpy(normaliser.apply(values))[None])
        index = pd.DatetimeIndex(bars.index)
        clock = index.tz_convert("UTC") if pair.network.clock == "utc" and index.tz is not None else index
        stamps = torch.from_numpy(time_stamps(clock))[None]
        for precision, network in networks.items():
            found[precision].append(likelihood(network, pair.network, s1, s2, stamps, length))
    return {precision: np.array(values) for precision, values in found.items()}


def likelihood(
    net: FoldedKronos, network: Kronos, s1: torch.Tensor, s2: torch.Tensor, stamps: torch.Tensor, length: int
) -> float:
    """Mean over the bars behind the first `length`, each told what truly came before it."""
    ahead = 1 if network.stamp_of == "next" else 0
    cache = Cache(CacheShape([length], 1, HORIZON), net.cache_layers(), net.norm)
    context = net.read(s1[:, :length], s2[:, :length], stamps[:, ahead : length + ahead], cache, 0)
    total = 0.0
    for bar in range(length, length + HORIZON):
        if bar > length:
            new = slice(bar - 1, bar)
            times = net.times(stamps[:, bar - 1 + ahead : bar + ahead])
            context = net.follow(s1[:, new], s2[:, new], times, cache)
        coarse = net.s1_logits(context).log_softmax(-1)[0, s1[0, bar]]
        fine = net.s2_logits(context, s1[:, bar], cache).log_softmax(-1)[0, s2[0, bar]]
        total -= float(coarse + fine)
    return total / HORIZON


def told(name: str, values: np.ndarray, base: np.ndarray | None, seconds: float | None = None) -> Sequence[str]:
    """One row of the table."""
    row = [f"{name:22}", f"{values.mean():.5f}"]
    if base is not None:
        change = values - base
        error = change.std(ddof=1) / np.sqrt(len(change))
        row += [f"{change.mean():+.5f} +- {error:.5f}", f"{values.mean() / base.mean() - 1:+.3%}"]
    if seconds is not None:
        row.append(f"{seconds / len(values):.3f} s a forecast")
    return row


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="of the runs, those whose name contains this")
    options = parser.parse_args()
    cases = windows(options.folder, options.since, options.origins, least=CONTEXT, lookback=CONTEXT)
    print(f"{len(cases)} origins, {options.samples} paths, horizon {HORIZON}")
    done: dict[str, np.ndarray] = {}
    for name in (name for name in RUNS if options.only in name):
        began = time.monotonic()
        done[name] = scores(cases, name, options.model, options.samples)
        base = done.get(AGAINST.get(name, ""))
        print("CRPS  ", *told(name, done[name], base, time.monotonic() - began), sep="  ", flush=True)
    found = likelihoods(cases, options.model)
    for precision, values in found.items():
        base = None if precision == "float32" else found["float32"]
        print("NLL   ", *told(precision, values, base), sep="  ")


if __name__ == "__main__":
    main()
