"""A forecast is a distribution of future candles, not a line.

`Forecast` holds the sampled paths and answers questions about them: the mean and quantile candles, the probability of
closing higher, of touching a price, of reaching a target before a stop, of a more volatile market than the recent one.
It knows neither the network nor who made it; `Forecaster` is the promise that everything that makes one keeps.

Probabilities are counted as (k + 1) / (n + 2): a finite number of paths never proves that something cannot happen.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW, Array, invalid, repair
from kronos.bars.forecast_file import UNREADABLE, Parts, reader, writer
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Times: TypeAlias = "pd.DatetimeIndex | pd.Series[Any]"


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Forecast:
    """Sampled paths of future candles, with what is needed to ask, draw and store them.

    `paths` is (S, H, 6) in the order of `COLUMNS`, made read-only; `history` is the tail of the bars that were read,
    used for drawing and for recent volatility; `repaired` counts candles that had to be mended to be valid; `meta`
    says how the forecast was made (model, seed, T, top_k, ...) and must be JSON-able.
    """

    paths: Array
    timestamps: pd.DatetimeIndex
    last_close: float
    history: pd.DataFrame | None = None
    name: str = "bars"
    timeframe: str = ""
    repaired: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is not a forecast; copy what is small, so that later changes by the caller do not reach it."""
        paths = np.asarray(self.paths, dtype=np.float64).view()
        _check_paths(paths)
        _check_times(self.timestamps, paths.shape[1])
        _check_history(self.history, self.timestamps)
        if not (np.isfinite(self.last_close) and self.last_close > 0):
            raise BarsError(f"last_close must be a positive price, got {self.last_close!r}")
        if self.repaired < 0:
            raise ConfigError(f"repaired is a count, got {self.repaired}")
        paths.flags.writeable = False
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "history", None if self.history is None else self.history.copy())
        object.__setattr__(self, "last_close", float(self.last_close))
        object.__setattr__(self, "repaired", int(self.repaired))
        object.__setattr__(self, "meta", _json_copy(self.meta))

    def __repr__(self) -> str:
        """Name, size, span and the gist of the forecast in one line."""
        change = float(np.median(self.paths[:, -1, CLOSE])) / self.last_close - 1.0
        label = f"{self.name} {self.timeframe}".strip()
        return (
            f"<Forecast {label}: {self.samples} paths x {self.horizon} bars, {self.timestamps[0]} to "
            f"{self.timestamps[-1]}, median close {change:+.2%}, P(up) {float(self.prob_up().iloc[-1]):.2f}>"
        )

    @property
    def samples(self) -> int:
        """How many paths were sampled."""
        return len(self.paths)

    @property
    def horizon(self) -> int:
        """How many bars each path is long."""
        return len(self.timestamps)

    # Candles ---------------------------------------------------------------------------------------------------

    def mean(self) -> pd.DataFrame:
        """The mean candle of every step."""
        return self._frame(self.paths.mean(axis=0))

    def median(self) -> pd.DataFrame:
        """The median candle of every step, column by column."""
        return self.quantile(0.5)

    def quantile(self, q: float) -> pd.DataFrame:
        """The `q` quantile of every column at every step (marginal: such a candle need not lie on any one path)."""
        _check_quantile(q)
        return self._frame(np.quantile(self.paths, q, axis=0))

    def to_frame(self, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> pd.DataFrame:
        """One tidy table: the mean candle, the close's `quantiles` (`close_q05`, `close_q2.5`, ...) and `prob_up`."""
        table = self.mean()
        for q in quantiles:
            _check_quantile(q)
            column = quantile_name("close", q)
            if column in table:
                raise ConfigError(f"the quantile {q!r} is asked for twice")
            table[column] = np.quantile(self.paths[..., CLOSE], q, axis=0)
        table["prob_up"] = self.prob_up()
        return table

    def _frame(self, candles: Array) -> pd.DataFrame:
        # Means and quantiles of valid candles are valid but for rounding in the last bit, which is mended here. Paths
        # that are not valid (reference parity switches the repair off) are summarised as they are.
        if not invalid(self.paths).any():
            candles, _ = repair(candles, floor=float(self.paths[..., LOW].min()))
        return pd.DataFrame(candles, index=self.timestamps, columns=list(COLUMNS))

    # Probabilities ---------------------------------------------------------------------------------------------

    def prob_up(self) -> "pd.Series[float]":
        """P(close > last close) at every step; a close that equals the last one counts half."""
        closes = self.paths[..., CLOSE]
        wins = (closes > self.last_close).sum(axis=0) + 0.5 * (closes == self.last_close).sum(axis=0)
        return pd.Series((wins + 1.0) / (self.samples + 2.0), index=self.timestamps, name="prob_up")

    def prob_touch(self, price: float, by: int | None = None) -> float:
        """P(the market trades at `price` within the first `by` steps; default: within the horizon).

        At or above the last close a high has to reach it, below the last close a low.
        """
        _check_price("price", price)
        steps = self.horizon if by is None else by
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or not 1 <= steps <= self.horizon:
            raise ConfigError(f"by must be a whole number of steps from 1 to {self.horizon}, got {by!r}")
        return self._share(self._touched(price, upwards=price >= self.last_close)[:, :steps].any(axis=1))

    def prob_before(self, target: float, stop: float) -> float:
        """P(`target` is reached within the horizon, and before `stop`).

        They lie on opposite sides of the last close: target above for a long position, below for a short one. A candle
        that touches both counts as the stop, since its order inside the candle is unknown; a path that reaches neither
        does not count as a success.
        """
        _check_price("target", target)
        _check_price("stop", stop)
        if not min(target, stop) < self.last_close < max(target, stop):
            raise ConfigError(
                f"target {target} and stop {stop} must lie on opposite sides of the last close {self.last_close}"
            )
        long = target > stop
        stopped = self._touched(stop, upwards=not long)
        alive = ~np.logical_or.accumulate(stopped, axis=1)  # the stop wins its own candle
        return self._share((self._touched(target, upwards=long) & alive).any(axis=1))

    def prob_volatile(self, factor: float = 1.0, lookback: int | None = None) -> float:
        """P(a path is more volatile than `factor` times the last `lookback` bars of the history).

        Both sides are root mean square one-bar log returns. The default look-back is the horizon, at least 24 bars,
        or what the history has.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise ConfigError(f"factor must be a positive number, got {factor!r}")
        return self._share(self.path_volatility() > factor * self._recent_volatility(lookback))

    def _touched(self, price: float, *, upwards: bool) -> NDArray[np.bool_]:
        """(S, H): which candles trade at or beyond `price`."""
        return self.paths[..., HIGH] >= price if upwards else self.paths[..., LOW] <= price

    def _share(self, hits: "NDArray[np.bool_] | np.bool_") -> float:
        return (int(hits.sum()) + 1) / (self.samples + 2)

    # Returns and volatility --------------------------------------------------------------------------------------

    def returns(self) -> Array:
        """(S, H) cumulative log returns of the closes, measured from the last close."""
        closes = self.paths[..., CLOSE]
        if not (closes > 0).all():
            path, step = np.argwhere(closes <= 0)[0]
            raise BarsError(f"path {path}, step {step}: close {closes[path, step]} has no log return; repair the paths")
        cumulative: Array = np.log(closes / self.last_close)
        return cumulative

    def path_volatility(self) -> Array:
        """(S,) root mean square one-bar log return of every path, the step from the last close included."""
        return _rms(np.diff(self.returns(), axis=1, prepend=0.0))

    def volatility(self) -> float:
        """The mean over paths of the root mean square one-bar log return."""
        return float(self.path_volatility().mean())

    def _recent_volatility(self, lookback: int | None) -> float:
        bars = 0 if self.history is None else len(self.history)
        if self.history is None or bars < 3:
            raise BarsError(f"recent volatility needs a history of at least 3 bars; this forecast carries {bars}")
        steps = min(max(self.horizon, 24), bars - 1) if lookback is None else lookback
        if not 2 <= steps < bars:
            raise ConfigError(f"lookback must lie between 2 and {bars - 1}, one less than the history, got {lookback}")
        closes = self.history["close"].to_numpy(dtype=np.float64)[-steps - 1 :]
        return float(_rms(np.diff(np.log(closes))))

    # Files and charts --------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to `path` (.npz or .parquet), whole or not at all, and return it.

        The parquet file is one plain table (path, step, timestamp, candle) that any reader can open; the history is
        in it as path -1, with the last bar at step 0.
        """
        target = Path(path)
        write = writer(target)
        parts = Parts(
            paths=self.paths,
            timestamps=self.timestamps,
            last_close=self.last_close,
            history=self.history,
            name=self.name,
            timeframe=self.timeframe,
            repaired=self.repaired,
            meta=self.meta,
        )
        with replacing(target) as temporary:
            write(parts, temporary)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Forecast":
        """Read a forecast written by `save`, to the bit (but for pandas' `freq` hint); nothing is ever unpickled."""
        source = Path(path)
        read = reader(source)
        try:
            return Forecast(**read(source))  # what was read may still be no forecast
        except UNREADABLE as error:
            raise SourceError(f"{source} is not a readable forecast: {error}") from error

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        truth: "pd.DataFrame | pd.Series[float] | None" = None,
        history_bars: int | None = None,
        title: str | None = None,
    ) -> "Figure":
        """Draw history, fan, median candles and volume; with `path`, also write it (.png, .svg or .pdf).

        `truth` (a frame with a close column, or a series of closes) is matched by time stamp. The figure belongs to
        the caller and is known to no global registry, so it needs no display and no closing: drop it when done.
        """
        from kronos.bars.plot import draw, picture_format

        target = None if path is None else Path(path)
        kind = "" if target is None else picture_format(target)  # before the work, not after it
        figure = draw(
            self.paths,
            self.timestamps,
            last_close=self.last_close,
            history=self.history,
            name=title or f"{self.name} {self.timeframe}".strip(),
            truth=truth,
            history_bars=history_bars,
            note=f"P(up) {float(self.prob_up().iloc[-1]):.0%}",
        )
        if target is not None:
            with replacing(target) as temporary:
                figure.savefig(temporary, format=kind)
        return figure


@runtime_checkable
class Forecaster(Protocol):
    """Whatever turns bars into forecasts: the network, an ensemble, a random walk, GARCH.

    One frame gives one `Forecast`, a sequence of frames a list, a mapping a dict with the same keys. `y_timestamp`
    has the shape of `data` and overrides the time stamps inferred for the future. Equal arguments give equal paths.
    """

    @property
    def name(self) -> str:
        """What tables and ledgers call it."""

    @overload
    def forecast(
        self, data: pd.DataFrame, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: "Times | None" = None
    ) -> Forecast: ...

    @overload
    def forecast(
        self,
        data: Sequence[pd.DataFrame],
        horizon: int,
        *,
        samples: int = 100,
        seed: int = 0,
        y_timestamp: "Sequence[Times] | None" = None,
    ) -> list[Forecast]: ...

    @overload
    def forecast(
        self,
        data: Mapping[str, pd.DataFrame],
        horizon: int,
        *,
        samples: int = 100,
        seed: int = 0,
        y_timestamp: "Mapping[str, Times] | None" = None,
    ) -> dict[str, Forecast]: ...


def quantile_name(column: str, q: float) -> str:
    """The name of a quantile's column: `close_q05` for .05, `close_q50`, `close_q2.5`, `close_q100`."""
    percent = round(100.0 * q, 8)
    return f"{column}_q{int(percent):02d}" if percent.is_integer() else f"{column}_q{percent:.10g}"


def _rms(returns: Array) -> Array:
    mean_square: Array = np.mean(np.square(returns), axis=-1)
    return np.sqrt(mean_square)


def _check_paths(paths: Array) -> None:
    if paths.ndim != 3 or paths.shape[2] != len(COLUMNS) or 0 in paths.shape:
        raise BarsError(f"paths must be (samples, horizon, {len(COLUMNS)}) and not empty, got shape {paths.shape}")
    if not np.isfinite(paths).all():
        path, step, column = np.argwhere(~np.isfinite(paths))[0]
        raise BarsError(f"path {path}, step {step}: {COLUMNS[column]} is {paths[path, step, column]}, not a number")


def _check_times(timestamps: pd.DatetimeIndex, horizon: int) -> None:
    if not isinstance(timestamps, pd.DatetimeIndex):
        raise BarsError(f"timestamps must be a DatetimeIndex, got {type(timestamps).__name__}")
    if len(timestamps) != horizon:
        raise BarsError(f"{len(timestamps)} time stamps for a horizon of {horizon} bars")
    if timestamps.hasnans:
        raise BarsError("timestamps contain NaT")


def _check_history(history: pd.DataFrame | None, timestamps: pd.DatetimeIndex) -> None:
    if history is None:
        return
    if list(history.columns) != list(COLUMNS) or not isinstance(history.index, pd.DatetimeIndex):
        raise BarsError(f"history must have the columns {', '.join(COLUMNS)} and a DatetimeIndex")
    if not all(dtype == np.float64 for dtype in history.dtypes):
        raise BarsError("history must be float64 throughout")
    if (history.index.tz is None) != (timestamps.tz is None):
        raise BarsError("history and timestamps must both have a time zone or both have none")


def _check_quantile(q: float) -> None:
    if not 0.0 <= q <= 1.0:
        raise ConfigError(f"a quantile lies between 0 and 1, got {q!r}")


def _check_price(name: str, price: float) -> None:
    if not (np.isfinite(price) and price > 0):
        raise ConfigError(f"{name} must be a positive price, got {price!r}")


def _json_copy(meta: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` as it will come back from a file, numpy scalars turned into Python's own."""

    def plain(value: object) -> object:
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"{type(value).__name__} is not JSON-able")

    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(meta), default=plain))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"meta must be JSON-able: {error}") from error
    return copy
