"""What a baseline is asked: frames made into look-backs, with the times to forecast."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Timeframe, calendar_of, canonical, infer_timeframe, next_times
from kronos.bars.asking import aligned, checked_future, named
from kronos.bars.candles import CLOSE
from kronos.bars.forecast import Times
from kronos.errors import BarsError

Array = NDArray[np.float64]

LEAST_DEVIATION = 1e-12  # of log returns; below it only rounding moves


@dataclass(frozen=True, eq=False)
class Past:
    """One look-back: all that a baseline may know, and the times of the bars it is to say something about."""

    name: str
    bars: pd.DataFrame  # canonical, (L, 6)
    future: pd.DatetimeIndex  # (H,)
    timeframe: Timeframe
    calendar: str

    @property
    def times(self) -> pd.DatetimeIndex:
        """(L,) when the known bars were."""
        return cast(pd.DatetimeIndex, self.bars.index)

    @property
    def horizon(self) -> int:
        """How many bars are to be forecast."""
        return len(self.future)

    @cached_property
    def candles(self) -> Array:
        """(L, 6)."""
        return np.ascontiguousarray(self.bars.to_numpy(dtype=np.float64))

    @cached_property
    def changes(self) -> Array:
        """(L - 1,) one-bar log returns of the closes."""
        return np.diff(np.log(self.candles[:, CLOSE]))

    @property
    def still(self) -> bool:
        """Whether returns never differed: a suspended share, a market that does not trade. Nothing has a scale then."""
        return bool(self.changes.std() < LEAST_DEVIATION)

    @cached_property
    def key(self) -> int:
        """A number that belongs to these bars and no others, whatever they are called and wherever they stand."""
        digest = blake2b(self.candles.tobytes(), digest_size=8)
        digest.update(self.times.as_unit("ns").asi8.tobytes())
        return int.from_bytes(digest.digest(), "little")

    def random(self, seed: int, purpose: int = 0) -> np.random.Generator:
        """Random numbers for these bars, the same ones whatever else is forecast beside them."""
        return np.random.default_rng([seed % 2**64, self.key, purpose])


def read_past(frame: pd.DataFrame, name: str, horizon: int, given: "Times | None", least: int) -> Past:
    """The look-back of a frame of at least `least` bars; the future's times are `given`, or follow from the bars'."""
    bars = canonical(frame, name=name)
    if len(bars) < least:
        raise BarsError(f"{name}: {len(bars)} bars are too few for this baseline; it needs at least {least}")
    index = cast(pd.DatetimeIndex, bars.index)
    timeframe = infer_timeframe(index)
    if given is not None:
        return Past(name, bars, checked_future(given, index, horizon, name), timeframe, "as given")
    return Past(name, bars, next_times(index, horizon, timeframe=timeframe), timeframe, calendar_of(index, timeframe))


def read_pasts(data: Any, horizon: int, y_timestamp: Any, least: int) -> list[Past]:
    """The look-backs of whatever was given, in its order."""
    names, frames = named(data)
    times = aligned(y_timestamp, data, names)
    asked = zip(frames, names, times, strict=True)
    return [read_past(frame, name, horizon, given, least) for frame, name, given in asked]
