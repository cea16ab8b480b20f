"""How sure one may be of a mean over origins that are not independent.

Origins close in time share the market's shocks, also across series, and those of one asset its ways. So they are put
into clusters, blocks of time and assets, and the standard error comes from the clusters' sums: everything inside one
may depend on everything else in it. Both ways at once are put together as Cameron, Gelbach and Miller (2011) do. How
long a shock lasts is not known, so blocks of several lengths are tried, and what they say at worst is believed; it is
never less than for independent origins. Where shocks last longer than a fifth of the whole time, no error can be had
from inside it, and this one is too small.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.errors import ConfigError

Array = NDArray[np.float64]

Figures: TypeAlias = dict[str, NDArray[Any]]
"""Figures by name, an entry for every origin; `PLACES` among them say which series and times they belong to."""

PLACES = ("series", "asset", "time")
"""What is no score: the names of series and asset, and the time of the first bar that was predicted."""

BLOCKS = (20, 10, 5)
"""Numbers of blocks of time: more would be too short to hold a shock, fewer would leave the error itself unsure."""

FEWEST_ASSETS = 8  # fewer say nothing about what another asset would do


def summary(figures: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """The number of `origins`, and of every figure the mean and, as `NAME_se`, its standard error.

    Origins at which a figure is not a number (a look-back that did not move has no unit) are left out of it.
    """
    _check(figures)
    found: dict[str, float] = {"origins": float(len(figures["time"]))}
    for name in figures:
        if name not in PLACES:
            found[name], found[f"{name}_se"] = _mean(figures[name], figures)
    return found


def paired(
    a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]], name: str = "crps", against: str | None = None
) -> tuple[float, float]:
    """The mean of a's figure less b's at the same origins, and its standard error.

    Far surer than two means: what makes an origin hard is the same for both. `against` names another figure of b, as
    in `paired(ours, ours, "crps", "hv20_crps")`.
    """
    other = name if against is None else against
    for figures, wanted in ((a, name), (b, other)):
        _check(figures)
        if wanted not in figures or wanted in PLACES:
            known = ", ".join(key for key in figures if key not in PLACES)
            raise ConfigError(f"there is no figure '{wanted}'; there are {known}")
    if not all(np.array_equal(a[key], b[key]) for key in ("series", "time")):
        raise ConfigError("the figures are of other origins; score both forecasters on the same windows and origins")
    return _mean(a[name] - b[other], a)


def standard_error(values: ArrayLike, assets: ArrayLike, times: ArrayLike) -> float:
    """The standard error of the mean of `values`, each of an asset and a time.

    Assets count as clusters where there are `FEWEST_ASSETS` of them. Of one moment alone the error is not a number:
    however many series there are, nothing says what another moment would bring.
    """
    numbers, moments = np.asarray(values, dtype=np.float64), np.asarray(times).astype(np.int64)
    if len(np.unique(moments)) < 2:
        return float("nan")
    errors = numbers - numbers.mean()
    owners = np.unique(np.asarray(assets), return_inverse=True)[1]
    variances = [_variance(errors, np.arange(len(errors)))]
    for count in BLOCKS:
        blocks = _time_blocks(moments, count)
        by_time = _variance(errors, blocks)
        variances.append(by_time)
        if owners.max() + 1 >= FEWEST_ASSETS:
            by_asset, by_both = _variance(errors, owners), _variance(errors, owners * count + blocks)
            variances += [by_asset, by_time + by_asset - by_both]
    return float(np.sqrt(max(variances)))


def _mean(values: NDArray[Any], figures: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    there = np.isfinite(values)
    if not there.any():
        return float("nan"), float("nan")
    places = (figures[key][there] for key in ("asset", "time"))
    return float(values[there].mean()), standard_error(values[there], *places)


def _variance(errors: Array, clusters: NDArray[np.int64]) -> float:
    """Of the mean, where whole clusters are drawn."""
    sizes = np.bincount(clusters)
    count = int((sizes > 0).sum())
    if count < 2:
        return 0.0
    sums = np.bincount(clusters, weights=errors)
    return float((sums**2).sum()) * count / (count - 1) / len(errors) ** 2


def _time_blocks(moments: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The number of every origin's block, each of about as many origins; equal times share one."""
    ranks = np.searchsorted(np.sort(moments), moments)
    blocks: NDArray[np.int64] = ranks * min(count, len(np.unique(moments))) // len(ranks)
    return blocks


def _check(figures: Mapping[str, NDArray[Any]]) -> None:
    missing = [key for key in PLACES if key not in figures]
    if missing:
        raise ConfigError(f"these are no figures of score_windows: they lack {', '.join(missing)}")
