"""Tripwires of the bars and the scoring themselves, whoever forecasts.

- `loader`: look-backs must stay the same byte for byte when the bars after them are changed where they lie.
- `told`: a forecast that *is* the truth, found in the series by its time stamps, must score nought at its own origin,
  and badly at others.
- `known`: a forecast that repeats the bars that are known must not score nought, or those are what is scored.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE, VOLUME
from kronos.data.sets.series import Series
from kronos.evaluate.benchmark.chunks import Ask
from kronos.evaluate.benchmark.material import Material, Wire
from kronos.evaluate.benchmark.origins import UNIT_BARS, Origin
from kronos.evaluate.benchmark.shelves import Prepare
from kronos.evaluate.scoring import score_forecast

Array = NDArray[np.float64]

PIPELINE = "pipeline"
NOUGHT = 0.05  # of u: a forecast that is the truth scores less, any other more
FARTHEST = 5.0  # log return of a truth put elsewhere: labels that are wrong have moves of any size


def try_pipeline(origins: Sequence[Origin], material: Material, prepare: Prepare, ask: Ask) -> list[dict[str, Any]]:
    """What the wires find for the bars and the scoring themselves."""
    return [wire.tree() for wire in (_loader(material), _told(origins, prepare, ask), _known(origins, ask))]


def _loader(material: Material) -> Wire:
    pairs = zip(material.chunk.pasts, material.altered, strict=True)
    changed = [not (past.index.equals(other.index) and past.equals(other)) for past, other in pairs]
    count, of = sum(changed), len(changed)
    sentence = f"look-backs stay the same, byte for byte, when the bars after {of} origins are changed"
    if count:
        sentence = (
            f"{count} of {of} look-backs change when the bars after them do: what reads or prepares bars looks ahead"
        )
    return Wire("loader", PIPELINE, not count, count / of, float("nan"), of, sentence)


def _told(origins: Sequence[Origin], prepare: Prepare, ask: Ask) -> Wire:
    own, others = [], []
    for one in origins:
        series = prepare(one.shelf, one.shelf.read())
        told = _copy_of(one, _candles_at(series, one.future_times()))
        own.append(_crps(told, one, one.truth(), ask))
        others += [_crps(told, one, _moved(other, one), ask) for other in origins if other is not one]
    mean, other = float(np.mean(own)), float(np.mean(others)) if others else float("nan")
    passed = mean < NOUGHT and not other < NOUGHT
    sentence = f"a forecast that is the truth scores {mean:.4f} at its own origin and {other:.2f} at others"
    if not passed:
        sentence += ": the truth that is scored is not what came at the times that were forecast"
    return Wire("told", PIPELINE, passed, mean, float("nan"), len(origins), sentence)


def _known(origins: Sequence[Origin], ask: Ask) -> Wire:
    scores, late = [], 0
    for one in origins:
        known = one.past_candles()[-ask.horizon :]
        known = known[np.arange(ask.horizon) % len(known)]  # a horizon longer than the look-back repeats it
        scores.append(_crps(_copy_of(one, known), one, one.truth(), ask))
        late += bool(one.future_times()[0] <= pd.Timestamp(one.last_known))
    mean = float(np.mean(scores))
    passed = mean >= NOUGHT and not late
    sentence = f"a forecast that repeats the bars that are known scores {mean:.2f}"
    if not passed:
        sentence += ": the truth that is scored is part of what forecasters are shown"
    return Wire("known", PIPELINE, passed, mean, float("nan"), len(origins), sentence)


def _candles_at(series: Series, times: pd.DatetimeIndex) -> Array:
    return series.bars[np.searchsorted(series.times, times.to_numpy())]


def _copy_of(one: Origin, candles: Array) -> Forecast:
    """Two paths of these very candles."""
    return Forecast(np.stack([candles, candles]), one.future_times(), float(one.past_candles()[-1, CLOSE]))


def _moved(other: Origin, one: Origin) -> Array:
    """Another origin's truth as it would be at this one: the same moves, in units of each look-back's deviation."""
    deviations = [np.diff(np.log(each.past_candles()[:, CLOSE]))[-UNIT_BARS:].std() for each in (one, other)]
    lasts = [float(each.past_candles()[-1, CLOSE]) for each in (one, other)]
    moved = other.truth()
    moves = np.log(moved[:, :VOLUME] / lasts[1]) * (deviations[0] / deviations[1])
    moved[:, :VOLUME] = lasts[0] * np.exp(np.clip(moves, -FARTHEST, FARTHEST))
    return moved


def _crps(forecast: Forecast, one: Origin, truth: Array, ask: Ask) -> float:
    return score_forecast(forecast, one.past_candles(), truth, ask.steps, ("crps",))["crps"]
