"""A batch of origins through a forecaster: forecasts, the time they took, and their figures. Runs in any process."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast, Forecaster
from kronos.bars.candles import CLOSE
from kronos.errors import BarsError, ConfigError, KronosError
from kronos.evaluate.benchmark.origins import Origin
from kronos.evaluate.scoring import score_forecast

Array = NDArray[np.float64]
Row = dict[str, Any]

TOGETHER = 32
"""Origins that are forecast in one call."""


@dataclass(frozen=True)
class Ask:
    """What is asked of a forecaster, and what of its forecasts is scored."""

    horizon: int
    samples: int
    seed: int
    steps: tuple[int, ...]
    wanted: tuple[str, ...] | None


@dataclass(frozen=True)
class Chunk:
    """Some origins: what a forecaster may see, and apart from it what came. It travels to other processes."""

    numbers: tuple[int, ...]
    pasts: tuple[pd.DataFrame, ...]
    times: tuple[pd.DatetimeIndex, ...]
    truths: tuple[Array, ...]

    @classmethod
    def of(cls, origins: Sequence[Origin]) -> "Chunk":
        """Of these."""
        return cls(
            tuple(one.number for one in origins),
            tuple(one.past() for one in origins),
            tuple(one.future_times() for one in origins),
            tuple(one.truth() for one in origins),
        )


def forecasts(
    forecaster: Forecaster, pasts: Sequence[pd.DataFrame], times: Sequence[pd.DatetimeIndex], ask: Ask
) -> list[Forecast | str]:
    """A forecast of every past, or why there is none.

    All are asked for at once; where that fails, one by one, so that one bad origin does not cost the others. Only
    errors that the package raises on purpose are taken for a failure to forecast: a mistake in a program is none.
    """
    try:
        made = _asked(forecaster, pasts, times, ask)
    except KronosError:
        return [_single(forecaster, past, future, ask) for past, future in zip(pasts, times, strict=True)]
    if len(made) != len(pasts):
        raise ConfigError(f"{forecaster.name} gave {len(made)} forecasts of {len(pasts)} series")
    return list(made)


def score_chunk(forecaster: Forecaster, chunk: Chunk, ask: Ask) -> list[Row]:
    """A row of figures for every origin; `seconds` is wall time a forecast, `failed` says why there are no figures."""
    began = time.perf_counter()
    made = forecasts(forecaster, chunk.pasts, chunk.times, ask)
    seconds = (time.perf_counter() - began) / len(made)
    rows = []
    for place, one in enumerate(made):
        row: Row = {"number": chunk.numbers[place], "seconds": seconds, "failed": one if isinstance(one, str) else ""}
        if isinstance(one, Forecast):
            try:
                row |= _scored(one, chunk, place, ask)
            except KronosError as error:
                row["failed"] = f"its forecast cannot be scored: {error}"
        rows.append(row)
    return rows


def _scored(one: Forecast, chunk: Chunk, place: int, ask: Ask) -> dict[str, float]:
    """The figures of a forecast, if it is one of this origin."""
    past = chunk.pasts[place].to_numpy(dtype=np.float64)
    if not one.timestamps.as_unit("ns").equals(chunk.times[place].as_unit("ns")):
        raise BarsError(f"it is of bars from {one.timestamps[0]}, not of those from {chunk.times[place][0]}")
    if not np.isclose(one.last_close, past[-1, CLOSE], rtol=1e-6):
        raise BarsError(f"it begins at a close of {one.last_close:g}, and the last one is {past[-1, CLOSE]:g}")
    return score_forecast(one, past, chunk.truths[place], ask.steps, ask.wanted)


def _asked(
    forecaster: Forecaster, pasts: Sequence[pd.DataFrame], times: Sequence[pd.DatetimeIndex], ask: Ask
) -> list[Forecast]:
    # copies: a forecaster that changes its frames must not change what it is asked about next
    frames = [past.copy() for past in pasts]
    return forecaster.forecast(frames, ask.horizon, samples=ask.samples, seed=ask.seed, y_timestamp=list(times))


def _single(forecaster: Forecaster, past: pd.DataFrame, times: pd.DatetimeIndex, ask: Ask) -> Forecast | str:
    try:
        made = _asked(forecaster, [past], [times], ask)
    except KronosError as error:
        return str(error)
    return made[0]
