"""What tripwires are laid with: bars whose future was changed, bars that end too early, and the record of a finding."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import VOLUME
from kronos.evaluate.benchmark.chunks import Chunk
from kronos.evaluate.benchmark.origins import Origin
from kronos.evaluate.benchmark.shelves import Prepare
from kronos.evaluate.metrics.uncertainty import standard_error

Array = NDArray[np.float64]

Reread: TypeAlias = Callable[[bool], tuple[pd.DataFrame, ...]]
"""Reads the look-backs anew: as they are, or with True where the bars after them were changed."""


@dataclass(frozen=True)
class Wire:
    """What one wire found: a figure with its standard error where it has one, and a sentence."""

    wire: str
    model: str
    passed: bool
    figure: float
    error: float
    origins: int
    sentence: str

    def tree(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Material:
    """What contestants are tried with; it travels to other processes."""

    chunk: Chunk
    altered: tuple[pd.DataFrame, ...]  # the look-backs, where the bars after them were changed
    stale: Chunk  # forecasts that are made a horizon too early, where there are bars for it
    assets: NDArray[np.str_]
    moments: NDArray[np.datetime64]

    @classmethod
    def of(cls, origins: Sequence[Origin], prepare: Prepare) -> "Material":
        """At these origins."""
        horizon = len(origins[0].truth())
        early = [(one, past) for one in origins if (past := one.earlier(horizon)) is not None]
        stale = Chunk(
            tuple(one.number for one, _ in early),
            tuple(past for _, past in early),
            tuple(one.earlier_times(horizon) for one, _ in early),
            tuple(one.truth() for one, _ in early),
        )
        assets, moments = np.array([one.asset for one in origins]), np.array([one.time for one in origins])
        return cls(Chunk.of(origins), rereader(origins, prepare)(True), stale, assets, moments)

    def error(self, values: Array, which: NDArray[np.int64]) -> float:
        """The standard error of a mean over some of the origins; of one moment alone as if they were independent."""
        error = standard_error(values, self.assets[which], self.moments[which])
        return error if np.isfinite(error) else float(values.std() / np.sqrt(len(values)))


def some_of(origins: Sequence[Origin], count: int) -> list[Origin]:
    """So many, spread evenly."""
    if len(origins) <= count:
        return list(origins)
    return [origins[i] for i in ((2 * np.arange(count) + 1) * len(origins) // (2 * count)).tolist()]


def rereader(origins: Sequence[Origin], prepare: Prepare) -> Reread:
    """Of these origins, from where their bars lie."""
    return lambda change: tuple(_past(one, prepare, change) for one in origins)


def altered(frame: pd.DataFrame, moment: np.datetime64) -> pd.DataFrame:
    """The bars with all values from a moment on changed; candles stay candles."""
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    naive = index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index
    first = int(naive.as_unit("ns").searchsorted(pd.Timestamp(moment)))
    random = np.random.default_rng(first)
    values = frame.to_numpy(dtype=np.float64).copy()
    after = values[first:]
    after[:, :VOLUME] *= np.exp(0.3 * np.tanh(random.normal(0.0, 0.3, len(after)).cumsum()))[:, None]
    after[:, VOLUME:] *= random.lognormal(0.5, 0.5, (len(after), 1))
    return pd.DataFrame(values, index=index, columns=frame.columns)


def _past(one: Origin, prepare: Prepare, change: bool) -> pd.DataFrame:
    frame = one.shelf.read()
    series = prepare(one.shelf, altered(frame, one.time) if change else frame)
    row = int(np.searchsorted(series.times, one.time))
    return series.cut(max(row - one.lookback, 0), row).frame()
