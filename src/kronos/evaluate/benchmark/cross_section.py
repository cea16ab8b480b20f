"""Does a model know which asset will do better? Correlations across the assets of one day, averaged over days.

Of each timeframe by itself: on every day on which at least five assets have a forecast, the return that was said for
the horizon is correlated with the one that came, by value (IC) and by rank (RankIC). The error of the mean over days is
Newey and West's, over as many lags as the horizon reaches across the next days, and no fewer than the usual number.
"""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.timeframe import Timeframe
from kronos.errors import ConfigError
from kronos.evaluate.benchmark.panel import Panel, Rows
from kronos.evaluate.metrics.long_run import automatic_lag
from kronos.evaluate.metrics.ranks import information_coefficients, skill

FEWEST_ASSETS = 5  # of one day
FEWEST_DAYS = 8  # of which a mean is worth its error
COLUMNS = [
    "model", "timeframe", "days", "assets", "ic", "ic_se", "rank_ic", "rank_ic_se", "icir", "t", "p", "lags",
]  # fmt: skip


def cross_section(panel: Panel) -> pd.DataFrame:
    """IC and RankIC of every model and timeframe: `icir` is mean over deviation of RankIC, `t` and `p` are RankIC's;
    `assets` is how many a day has in the mean. Timeframes with fewer than 8 such days are not there.
    """
    rows = []
    timeframes = panel.places["timeframe"].astype(str).to_numpy()
    for timeframe in dict.fromkeys(timeframes):
        for name in panel.order:
            row = _row(panel, name, timeframes == timeframe, timeframe)
            rows += [] if row is None else [{"model": name, "timeframe": timeframe, **row}]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(panel: Panel, name: str, rows: Rows, timeframe: str) -> dict[str, float] | None:
    said, came = panel.values(name, "said_return"), panel.values(name, "came_return")
    frame = pd.DataFrame({"day": panel.days, "asset": panel.places["asset"].astype(str), "said": said, "came": came})
    frame = frame[rows & np.isfinite(said) & np.isfinite(came)]
    frame = frame.drop_duplicates(["day", "asset"])  # an asset has one voice a day, its first forecast
    sizes = frame.groupby("day")["asset"].transform("size")
    frame = frame[sizes >= FEWEST_ASSETS]
    if not len(frame):
        return None
    signal, returns = (frame.pivot(index="day", columns="asset", values=what) for what in ("said", "came"))
    ranked, plain = (information_coefficients(signal, returns, ranked=which) for which in (True, False))
    known = ranked.notna() & plain.notna()
    if known.sum() < FEWEST_DAYS:
        return None
    lags = _lags(ranked.index[known].to_numpy().astype("datetime64[D]"), timeframe, panel.horizon)
    by_rank, by_value = skill(ranked[known], lags=lags), skill(plain[known], lags=lags)
    return {
        "days": by_rank.dates,
        "assets": float(signal.notna().sum(axis=1)[known].mean()),
        "ic": by_value.mean,
        "ic_se": by_value.error,
        "rank_ic": by_rank.mean,
        "rank_ic_se": by_rank.error,
        "icir": by_rank.ratio,
        "t": by_rank.t,
        "p": by_rank.p,
        "lags": lags,
    }


def _lags(days: NDArray[Any], timeframe: str, horizon: int) -> int:
    """As many days of those that are judged as the horizon of one reaches across, and no fewer than is usual."""
    try:
        length = Timeframe.parse(timeframe).delta / pd.Timedelta(days=1)
    except ConfigError:
        length = 0.0
    apart = max(float(np.median(np.diff(days).astype(np.int64))), 1.0)
    return min(max(automatic_lag(len(days)), ceil(horizon * length / apart) - 1), len(days) - 1)
