"""Pairs of what was said and what came, collected over rolling origins: what a calibration is fitted on.

Only the cumulative log returns of the closes at a few steps of the horizon are kept, so that ten thousand origins of a
hundred paths take tens of megabytes. The folder holds one file for every batch of origins, each written whole: killed
at any moment, the same call goes on where it was. A folder of other origins, or of another model, is refused.
"""

import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.bars import Forecast, Forecaster
from kronos.bars.candles import CLOSE
from kronos.errors import BarsError, ConfigError, KronosError, SourceError
from kronos.evaluate.benchmark.chunks import TOGETHER
from kronos.evaluate.benchmark.origins import Origin
from kronos.evaluate.benchmark.reporting import Progress, Reporter, Silent
from kronos.evaluate.metrics.distribution import coverage, crps
from kronos.evaluate.scoring import LEAST_UNIT, UNIT_BARS
from kronos.writing import replacing

Array = NDArray[np.float64]

SETTINGS_FILE = "collected.json"
STEPS = (1, 2, 3, 6, 12, 24)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Forecasts of N origins at K steps of the horizon, and what came of them."""

    moves: NDArray[np.float32]  # (N, S, K) cumulative log returns of the paths, from the last known close
    came: Array  # (N, K) of the truth
    closes: Array  # (N, U + 1) the last closes of the look-back, over the last one: recent volatility is in them
    series: NDArray[Any]  # (N,) names
    asset: NDArray[Any]  # (N,)
    market: NDArray[Any]  # (N,)
    timeframe: NDArray[Any]  # (N,)
    time: NDArray[Any]  # (N,) of the first bar that was predicted
    until: NDArray[Any]  # (N,) of the last one
    steps: tuple[int, ...]
    facts: Mapping[str, Any]
    """What the forecasts say of themselves and all agree on: model, cutoff, T, top_k, top_p, ..."""

    def __len__(self) -> int:
        """How many origins there are."""
        return len(self.time)

    def at(self, which: NDArray[Any]) -> "Outcomes":
        """The origins that a mask or numbers name."""
        chosen = {one.name: getattr(self, one.name)[which] for one in fields(self) if one.name not in _WHOLE}
        return replace(self, **chosen)

    def places(self) -> dict[str, NDArray[Any]]:
        """Series, asset and time of every origin, as figures have them."""
        return {"series": self.series, "asset": self.asset, "time": self.time}

    def unit(self) -> Array:
        """The unit (N, K) of the scores: the deviation of the last 100 returns x sqrt(step); not a number if still."""
        deviation = np.diff(np.log(self.closes[:, -UNIT_BARS - 1 :]), axis=1).std(axis=1)
        unit: Array = np.where(deviation > LEAST_UNIT, deviation, np.nan)[:, None] * np.sqrt(np.array(self.steps))
        return unit

    def split(self, later: float) -> "tuple[Outcomes, Outcomes]":
        """The earlier origins and the last share `later` of them; none of the earlier has a bar in the later time."""
        if not 0 < later < 1:
            raise ConfigError(f"the share of later origins lies between 0 and 1, not {later!r}")
        moment = np.sort(self.time)[int(np.ceil(len(self) * (1.0 - later))) - 1]
        after = self.time > moment
        begins = self.time[after].min() if after.any() else None
        if begins is None or not (self.until < begins).any():
            raise BarsError(f"{len(self)} origins cannot be split in time; spread more of them over a longer time")
        return self.at(self.until < begins), self.at(after)


_NAMES = ("series", "asset", "market", "timeframe")
_WHOLE = ("steps", "facts")  # what is the same for all origins


def collect(
    forecaster: Forecaster,
    origins: Sequence[Origin],
    folder: Path,
    *,
    steps: Sequence[int] = STEPS,
    samples: int = 100,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Outcomes:
    """Forecast from these origins and keep what a calibration needs; goes on in a folder left half done.

    `options` go to the forecaster's `forecast` (T, top_p). Steps beyond the horizon become the horizon. Origins at
    which it fails are left out; that it fails at all of them is an error.
    """
    if not origins or not steps or min(steps) < 1 or samples < 2:
        raise ConfigError("collecting needs origins, steps from 1 up, and at least 2 samples")
    horizon = min(len(one.future_times()) for one in origins)
    kept = tuple(sorted({min(int(step), horizon) for step in steps}))
    asked = {"model": forecaster.name, "samples": samples, "seed": seed, "steps": list(kept)}
    asked |= {"origins": len(origins), "bars": _digest(origins), "options": dict(options or {})}
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, asked)
    heard, began, made = reporter or Silent(), time.monotonic(), 0
    parts = []
    firsts = range(0, len(origins), TOGETHER)
    for number, first in enumerate(firsts):
        path, some = folder / f"part-{number:05d}.npz", origins[first : first + TOGETHER]
        part = _read_part(path)
        if part is None:
            part = _make(forecaster, some, kept, {"samples": samples, "seed": seed, **(options or {})})
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **part)
            made += 1
        parts.append(part)
        left = (time.monotonic() - began) / max(made, 1) * (len(firsts) - number - 1)
        heard.tick(Progress(forecaster.name, first + len(some), len(origins), "origins", left))
    there = [part for part in parts if len(part["time"])]
    if not there:
        raise BarsError(f"{forecaster.name} gave no forecast at any of {len(origins)} origins")
    return _joined(there, kept)


def balanced(origins: Sequence[Origin], most: int) -> list[Origin]:
    """At most so many, as equally many of each market and timeframe as there are, spread evenly over each."""
    cells: dict[tuple[str, str], list[Origin]] = {}
    for one in origins:
        cells.setdefault((one.market, one.timeframe), []).append(one)
    left, chosen = most, list[Origin]()
    for done, cell in enumerate(sorted(cells.values(), key=len)):  # what small ones leave is for the larger
        count = min(len(cell), left // (len(cells) - done))
        chosen += [cell[i] for i in ((2 * np.arange(count) + 1) * len(cell) // (2 * max(count, 1))).tolist()]
        left -= count
    return sorted(chosen, key=lambda one: one.number)


def score_outcomes(outcomes: Outcomes, moves: NDArray[Any] | None = None) -> dict[str, NDArray[Any]]:
    """CRPS (and of each step, `crps_6`), P(up)'s Brier score and coverage of 50, 80, 90 and 95 %, for every origin.

    `moves` are other paths than those that were collected. In the unit of `score_windows`, means over the steps.
    """
    paths = np.moveaxis(np.asarray(outcomes.moves if moves is None else moves, dtype=np.float64), 1, 0)  # (S, N, K)
    scores = crps(paths, outcomes.came) / outcomes.unit()
    wins = (paths > 0).sum(axis=0) + 0.5 * (paths == 0).sum(axis=0)
    rose = np.where(outcomes.came == 0, 0.5, outcomes.came > 0)
    figures = {
        "crps": scores.mean(axis=1),
        **{f"crps_{step}": scores[:, k] for k, step in enumerate(outcomes.steps)},
        "brier": np.square((wins + 1.0) / (len(paths) + 2.0) - rose).mean(axis=1),
    }
    for percent in (50, 80, 90, 95):
        figures[f"cover{percent}"] = coverage(paths, outcomes.came, percent / 100).mean(axis=1)
    return outcomes.places() | figures


def _make(
    forecaster: Forecaster, origins: Sequence[Origin], steps: tuple[int, ...], asked: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """The arrays of a few origins; what came is looked at when the forecaster has spoken."""
    pairs = _forecasts(forecaster, origins, asked)
    at = np.array(steps) - 1
    lasts = [float(one.past_candles()[-1, CLOSE]) for one, _ in pairs]
    moves = [
        made.returns()[:, at] + np.log(made.last_close / last) for (_, made), last in zip(pairs, lasts, strict=True)
    ]
    came = [np.log(one.truth()[at, CLOSE] / last) for (one, _), last in zip(pairs, lasts, strict=True)]
    closes = [one.past_candles()[-UNIT_BARS - 1 :, CLOSE] / last for (one, _), last in zip(pairs, lasts, strict=True)]
    facts = json.dumps(_agreed([dict(made.meta) for _, made in pairs]), sort_keys=True)
    return {
        "moves": np.array(moves, dtype=np.float32),
        "came": np.array(came),
        "closes": np.array(closes),
        **{name: np.array([getattr(one, name) for one, _ in pairs]) for name in _NAMES},
        "time": np.array([one.time for one, _ in pairs], dtype="datetime64[ns]"),
        "until": np.array([one.future_times()[-1] for one, _ in pairs], dtype="datetime64[ns]"),
        "facts": np.array([facts]),
    }


def _forecasts(
    forecaster: Forecaster, origins: Sequence[Origin], asked: Mapping[str, Any]
) -> list[tuple[Origin, Forecast]]:
    """Every origin with its forecast; where all at once fail, one by one, without those that do."""
    ask: Callable[..., list[Forecast]] = forecaster.forecast  # options beyond the protocol's are the caller's choice
    times = [one.future_times() for one in origins]
    try:
        made = ask([one.past() for one in origins], len(times[0]), y_timestamp=times, **asked)
        return list(zip(origins, made, strict=True))
    except KronosError:
        if len(origins) == 1:
            return []
        return [pair for one in origins for pair in _forecasts(forecaster, [one], asked)]


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]], steps: tuple[int, ...]) -> Outcomes:
    facts = _agreed([json.loads(str(part["facts"][0])) for part in parts])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "facts"}
    return Outcomes(**arrays, steps=steps, facts=facts)


def _agreed(metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all say alike."""
    if not metas:
        return {}
    return {key: value for key, value in metas[0].items() if all(one.get(key) == value for one in metas[1:])}


def _read_part(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a part that is there."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path}: not a part of collected outcomes ({error}); delete it to make it again") from error


def _claim(folder: Path, asked: Mapping[str, Any]) -> None:
    """Take a new folder, or go on in one that was made for the same."""
    file = folder / SETTINGS_FILE
    if not file.exists():
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(asked, indent=1), encoding="utf-8")
        return
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{file}: cannot be read ({error}); delete the folder to begin anew") from error
    other = [key for key in asked if there.get(key) != asked[key]]
    if other:
        told = "; ".join(f"{key} was {there.get(key)} and is now {asked[key]}" for key in other)
        raise ConfigError(f"{folder} holds outcomes of something else ({told}); delete it to begin anew")


def _digest(origins: Sequence[Origin]) -> str:
    """A short hash of which windows these are, with all their bars."""
    return blake2b("".join(one.digest + one.series for one in origins).encode(), digest_size=8).hexdigest()
