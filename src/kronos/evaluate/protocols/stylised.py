"""Stylised facts of returns: what real markets have in common and a generator has to bring along.

Sequences are rows: (N, T) one-bar log returns, in any unit that makes them comparable (here the volatility of their own
look-back). Correlations at a lag are taken inside sequences and pooled over them, about means and deviations of all:
about means of their own, short sequences would all seem to turn back.

- fat tails: excess kurtosis of the returns, and Hill's index of the largest 5 % (3 to 5 in real markets; greater is
  thinner)
- no memory in returns: their autocorrelation, near 0
- volatility clusters: the autocorrelation of absolute returns, positive and slow to fall
- leverage: the correlation of a return with later absolute returns, negative where falls are followed by unrest
- aggregation: sums over more bars have less kurtosis, on the way to a Gaussian
- volume goes with volatility: the correlation of log volume with the absolute return of its bar
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError

Array = NDArray[np.float64]
Sequences: TypeAlias = tuple[Array, Array | None]  # returns (N, T) and log volumes (N, T)

LAGS = 10
TAIL = 0.05
SUMS = (2, 4, 8)
BLOCKS = 20

FACTS: Mapping[str, str] = {
    "kurtosis": "excess kurtosis of one-bar returns",
    "tail_index": "Hill's tail index of absolute returns",
    "acf_1": "autocorrelation of returns, lag 1",
    "acf_2_10": "autocorrelation of returns, mean of lags 2 to 10",
    "abs_acf_1": "autocorrelation of absolute returns, lag 1",
    "abs_acf_2_10": "autocorrelation of absolute returns, mean of lags 2 to 10",
    "leverage": "correlation of a return with later absolute returns, mean of lags 1 to 10",
    "kurtosis_2": "excess kurtosis of sums of 2 bars",
    "kurtosis_4": "excess kurtosis of sums of 4 bars",
    "kurtosis_8": "excess kurtosis of sums of 8 bars",
    "volume_volatility": "correlation of log volume with the absolute return",
}
"""What each fact is called."""


def stylised_facts(returns: ArrayLike, volumes: ArrayLike | None = None) -> dict[str, float]:
    """`FACTS` of sequences (N, T) of returns and, where there are any, of log volumes; no numbers where T is short."""
    r = _sequences(returns)
    lags = lagged(r, LAGS)
    sizes = lagged(np.abs(r), LAGS)
    found = {
        "kurtosis": kurtosis(r),
        "tail_index": tail_index(r),
        "acf_1": float(lags[0]),
        "acf_2_10": _mean(lags[1:]),
        "abs_acf_1": float(sizes[0]),
        "abs_acf_2_10": _mean(sizes[1:]),
        "leverage": _mean(lagged(r, LAGS, np.abs(r))),
        **{f"kurtosis_{count}": kurtosis(summed(r, count)) for count in SUMS},
        "volume_volatility": float("nan"),
    }
    if volumes is not None:
        v = _sequences(volumes)
        if v.shape != r.shape:
            raise ConfigError(f"volumes of shape {v.shape} do not belong to returns of shape {r.shape}")
        found["volume_volatility"] = _correlation(v, np.abs(r))
    return found


def kurtosis(returns: ArrayLike) -> float:
    """Excess kurtosis of all numbers: 0 of a Gaussian; not a number of fewer than 8, or of what does not move."""
    r = np.asarray(returns, dtype=np.float64).ravel()
    spread = r.var() if len(r) >= 8 else 0.0
    return float(((r - r.mean()) ** 4).mean() / spread**2 - 3.0) if spread > 0 else float("nan")


def tail_index(returns: ArrayLike, tail: float = TAIL) -> float:
    """Hill's estimate over the largest share `tail` of absolute returns, at least 10 of them."""
    sizes = np.sort(np.abs(np.asarray(returns, dtype=np.float64)).ravel())[::-1]
    count = max(int(tail * len(sizes)), 10)
    if len(sizes) <= count or sizes[count] <= 0:
        return float("nan")
    excess = float(np.log(sizes[:count] / sizes[count]).mean())
    return 1.0 / excess if excess > 0 else float("nan")


def lagged(first: ArrayLike, lags: int, second: ArrayLike | None = None) -> Array:
    """Correlations (lags,) of `first` (N, T) with what comes 1, 2, ... bars later in itself or in `second`."""
    a = _sequences(first)
    b = a if second is None else _sequences(second)
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((x**2).mean() * (y**2).mean()))
    found = np.full(lags, np.nan)
    if scale > 0:
        for lag in range(1, min(lags, x.shape[1] - 1) + 1):
            found[lag - 1] = (x[:, :-lag] * y[:, lag:]).mean() / scale
    return found


def summed(returns: ArrayLike, count: int) -> Array:
    """Sums over so many bars each (N, T // count), one after the other."""
    r = _sequences(returns)
    whole = r.shape[1] // count
    sums: Array = r[:, : whole * count].reshape(len(r), whole, count).sum(axis=2)
    return sums


def jackknife(
    statistic: Callable[[NDArray[np.int64]], Mapping[str, float]], blocks: NDArray[np.int64]
) -> dict[str, tuple[float, float]]:
    """Every figure of all sequences, and its standard error: from what it is without one block after another.

    `statistic` is given the numbers of the sequences to look at; `blocks` (N,) says which belong together.
    """
    rows = np.arange(len(blocks))
    whole = statistic(rows)
    names = np.unique(blocks)
    without = [statistic(rows[blocks != one]) for one in names] if len(names) > 1 else []
    found = {}
    for name, value in whole.items():
        others = np.array([one[name] for one in without], dtype=np.float64)
        others = others[np.isfinite(others)]
        count = len(others)
        spread = float(((others - others.mean()) ** 2).sum()) if count > 1 else float("nan")
        found[name] = value, float(np.sqrt((count - 1) / count * spread)) if count > 1 else float("nan")
    return found


def time_blocks(times: ArrayLike, count: int = BLOCKS) -> NDArray[np.int64]:
    """The number of every sequence's block of time, each of about as many sequences; equal times share one."""
    moments = np.asarray(times).astype(np.int64)
    places = np.searchsorted(np.sort(moments), moments)
    blocks: NDArray[np.int64] = places * min(count, len(np.unique(moments))) // len(moments)
    return blocks


def _correlation(a: Array, b: Array) -> float:
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((x**2).mean() * (y**2).mean()))
    return float((x * y).mean()) / scale if scale > 0 else float("nan")


def _mean(values: Array) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def _sequences(values: ArrayLike) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape or rows.shape[1] < 2:
        raise ConfigError(f"sequences are rows (N, T) of at least two bars; the shape is {rows.shape}")
    if not np.isfinite(rows).all():
        row, step = np.argwhere(~np.isfinite(rows))[0]
        raise ConfigError(f"sequence {row}, bar {step}: {rows[row, step]} is no return")
    return rows
