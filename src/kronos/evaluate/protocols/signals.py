"""The investment simulation's first half: a signal for every asset and day, and how well it ranks the assets.

The signal of a day is the mean of the next 10 predicted closes over the last close, less 1, read from 90 days. What a
portfolio earns with it belongs to the room of trading; `wide_signals` hands it the frame that it needs, days x assets.
A signal needs no truth: the last days of the bars have one too, and their return is not known yet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast, next_times
from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.data.sets.partition import asset_of
from kronos.data.sets.windows import group_of, nanoseconds_of
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.evaluate.metrics.long_run import long_run_variance
from kronos.evaluate.metrics.points import rank_correlation
from kronos.evaluate.protocols.paper_rollouts import Progress, Reporter, before_cutoff, forecasts_of
from kronos.evaluate.protocols.paper_tasks import SIGNAL_SHAPE, SIGNAL_TIMEFRAME, Entrant, PaperSettings

COLUMNS = ("model", "market", "series", "asset", "date", "signal", "came", "before_cutoff")
"""`date` is the day whose close is the last one known; `came` is the return over the horizon, where it is known."""

FEWEST_ASSETS = 5  # of a day: fewer have no ranking to speak of


@dataclass(frozen=True)
class Point:
    """One asset on one day: the row of its last known bar."""

    series: Series
    row: int

    def past(self) -> pd.DataFrame:
        """The look-back as a frame of its own."""
        return self.series.cut(self.row + 1 - SIGNAL_SHAPE[0], self.row + 1).frame()

    def came(self) -> float:
        """The simple return over the horizon; not a number where its end has not come yet."""
        end = self.row + SIGNAL_SHAPE[1]
        closes = self.series.bars[:, CLOSE]
        return float(closes[end] / closes[self.row] - 1.0) if end < len(closes) else float("nan")


def signal_points(series: Sequence[Series], begin: str, settings: PaperSettings) -> list[Point]:
    """Every asset on every chosen day, in the order of time; a market's days are those of any of its assets."""
    least, points = SIGNAL_SHAPE[0], []
    since = np.datetime64(nanoseconds_of(begin, "since"), "ns")
    until = None if settings.until is None else np.datetime64(nanoseconds_of(settings.until, "until"), "ns")
    daily = [one for one in series if one.timeframe == SIGNAL_TIMEFRAME and len(one) >= least]
    for market in sorted({group_of(one) for one in daily}):
        those = [one for one in daily if group_of(one) == market]
        days = np.unique(np.concatenate([one.times[least - 1 :] for one in those]))
        days = days[(days >= since) & (True if until is None else days < until)]
        days = _spread(days, settings.dates)
        for one in those:
            rows = np.searchsorted(one.times, days)
            there = rows < len(one)
            there[there] = one.times[rows[there]] == days[there]
            points += [Point(one, int(row)) for row in rows[there] if row + 1 >= least]
    points.sort(key=lambda point: (point.series.times[point.row], point.series.name))
    return points


def signals_of(
    entrant: Entrant, points: Sequence[Point], settings: PaperSettings, reporter: Reporter | None = None
) -> pd.DataFrame:
    """The signals of an entrant, a row for every asset and day (`COLUMNS`); not a number where it failed.

    The days to predict follow from the look-back's own: to be told of a suspension would be to know the future.
    """
    options = entrant.options("signals", settings, SIGNAL_SHAPE[0])
    ahead: dict[bytes, pd.DatetimeIndex] = {}  # one market's assets mostly have the same days
    progress, made = Progress(f"{entrant.name} signals", len(points), reporter), []
    for some in _chunks(points, settings.together):
        pasts = [point.past() for point in some]
        last = [float(past["close"].iloc[-1]) for past in pasts]
        found = forecasts_of(entrant, pasts, SIGNAL_SHAPE[1], [_ahead(past, ahead) for past in pasts], options)
        made += [_signal(one, close) for one, close in zip(found, last, strict=True)]
        progress.add(len(some))
    frame = pd.DataFrame(
        {
            "model": entrant.name,
            "market": [group_of(point.series) for point in points],
            "series": [point.series.name for point in points],
            "asset": [asset_of(point.series) for point in points],
            "date": np.array([point.series.times[point.row] for point in points], dtype="datetime64[ns]"),
            "signal": made,
            "came": [point.came() for point in points],
        }
    )
    frame["before_cutoff"] = before_cutoff(frame["date"], entrant.cutoff)
    return frame


def wide_signals(frame: pd.DataFrame, column: str = "signal") -> pd.DataFrame:
    """Days x assets, as a portfolio is built from: an asset that has no bar on a day has no number there.

    Assets are called by their symbol, or by the name of their series where two have the same one.
    """
    if frame.empty:
        raise BarsError("there are no signals; a market needs daily series of at least 90 bars")
    if frame["model"].nunique() > 1:
        raise ConfigError(f"signals of {', '.join(frame['model'].unique())}: choose one model; a frame holds one")
    owners = frame.groupby("asset")["series"].nunique()
    doubled = frame["asset"].isin(owners[owners > 1].index)
    names = frame["asset"].where(~doubled, frame["series"])
    wide = frame.assign(asset=names).pivot(index="date", columns="asset", values=column)
    return wide.sort_index(axis=0).sort_index(axis=1)


def read_signals(file: str | Path, market: str | None = None) -> pd.DataFrame:
    """The signals of a file that the protocol wrote, days x assets: what the room of trading begins with."""
    path = Path(file)
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: these are no signals ({error})") from error
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise SourceError(f"{path}: these are no signals; they lack {', '.join(missing)}")
    if market is not None:
        known = sorted(frame["market"].unique())
        if market not in known:
            raise ConfigError(f"{path}: there are no signals of '{market}'; there are {', '.join(known)}")
        frame = frame[frame["market"] == market]
    return wide_signals(frame)


def cross_section(frame: pd.DataFrame) -> pd.DataFrame:
    """Of every market and day: how many assets have a signal, and its rank correlation with what came."""
    rows = []
    alive = frame.groupby(["market", "series"])["date"].agg(["min", "max"]).reset_index()
    for (market, day), one in frame.groupby(["market", "date"], sort=True):
        listed = int(((alive["market"] == market) & (alive["min"] <= day) & (alive["max"] >= day)).sum())
        both = one[one["signal"].notna() & one["came"].notna()]
        enough = len(both) >= FEWEST_ASSETS
        rank_ic = float(rank_correlation(both["signal"], both["came"])) if enough else float("nan")
        there = int(one["signal"].notna().sum())
        rows.append({"market": market, "date": day, "assets": there, "coverage": there / listed, "rank_ic": rank_ic})
    return pd.DataFrame(rows, columns=["market", "date", "assets", "coverage", "rank_ic"])


def ranking(days: pd.DataFrame) -> pd.DataFrame:
    """Of every market: mean RankIC over its days with a standard error, its ratio to its deviation, and coverage.

    Returns of days closer than the horizon overlap, so that the error is Newey and West's (1987) over as many days.
    """
    rows = []
    for market, own in days.groupby("market", sort=True):
        values = own["rank_ic"].dropna()
        mean = float(values.mean()) if len(values) else float("nan")
        spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        error = _error(values.to_numpy(), overlap_of(own.loc[values.index, "date"]))
        rows.append(
            {
                "market": market,
                "rank_ic": mean,
                "rank_ic_se": error,
                "icir": mean / spread if spread > 0 else float("nan"),
                "days": len(values),
                "assets": float(own["assets"].mean()),
                "coverage": float(own["coverage"].mean()),
            }
        )
    return pd.DataFrame(rows, columns=["market", "rank_ic", "rank_ic_se", "icir", "days", "assets", "coverage"])


def overlap_of(days: "pd.Series[pd.Timestamp]") -> int:
    """How many of the next days' returns share a day with one's own: the horizon is counted in business days."""
    moments = days.to_numpy(dtype="datetime64[D]")
    if len(moments) < 2:
        return 0
    apart = float(np.median(np.busday_count(moments[:-1], moments[1:])))
    return max(int(np.ceil(SIGNAL_SHAPE[1] / max(apart, 1.0))) - 1, 0)


def _error(values: NDArray[np.float64], overlap: int) -> float:
    if len(values) < 2:
        return float("nan")
    variance = long_run_variance(values, min(overlap, len(values) - 1))
    return float(np.sqrt(variance / (len(values) - 1)))


def _ahead(past: pd.DataFrame, known: dict[bytes, pd.DatetimeIndex]) -> pd.DatetimeIndex:
    """The days to predict, looked up where a look-back of the same days has been seen."""
    index = pd.DatetimeIndex(past.index)
    key = index.asi8.tobytes()
    if key not in known:
        known[key] = next_times(index, SIGNAL_SHAPE[1])
    return known[key]


def _signal(forecast: Forecast | Exception, last: float) -> float:
    if not isinstance(forecast, Forecast):
        return float("nan")
    return float(forecast.paths[..., CLOSE].mean() / last - 1.0)


def _spread(days: NDArray[np.datetime64], count: int) -> NDArray[np.datetime64]:
    """So many of the days, from the first to the last; all of them for 0."""
    if count == 0 or count >= len(days):
        return days
    return days[np.linspace(0, len(days) - 1, count).round().astype(np.int64)]


def _chunks(points: Sequence[Point], size: int) -> Iterator[Sequence[Point]]:
    for first in range(0, len(points), size):
        yield points[first : first + size]
