"""Adaptation in live use: intervals that learn from every forecast whose truth has come.

Adaptive conformal inference (Gibbs and Candes 2021) in the form of quantile tracking: for each group, range of steps
and central interval, a factor grows when the truth falls outside the interval that it would now make, and shrinks a
little when it falls inside, in the ratio that leaves it where it is when the interval holds what it says. Nothing is
assumed about how the market changes; the price is a delay of about 1 / gamma observations, and factors that never
rest. Same observations in the same order, same state.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.forecast.calibration.calibration import LEAST_SAMPLES
from kronos.forecast.calibration.maps import SHARES, Shape
from kronos.forecast.calibration.moving import with_returns
from kronos.forecast.calibration.tables import Table
from kronos.writing import replacing

Array = NDArray[np.float64]

FORMAT = 1
EDGES = (1, 3, 6, 12, 24, 48, 96)
"""The last steps of the ranges that learn together; what is beyond belongs to the last."""

LIMIT = float(np.log(4.0))  # of a factor's logarithm
GAMMA = 0.05


@dataclass
class _Learnt:
    """The logarithms of a group's factors, and of how many forecasts."""

    logs: Array = field(default_factory=lambda: np.zeros((len(EDGES), len(SHARES))))
    count: int = 0


class AdaptiveConformal:
    """Factors that follow the market, on top of raw or calibrated forecasts.

    `apply` widens or narrows a forecast by what was learnt, `observe` learns from one whose truth has come: from one
    that `apply` made, or from one that it did not. The group is the forecast's timeframe unless named (a series, say).
    """

    def __init__(self, gamma: float = GAMMA) -> None:
        """Nothing is known yet; `gamma` is how far a miss moves a factor, in log units."""
        if not 0 < gamma <= 1:
            raise ConfigError(f"gamma lies between 0 and 1, not {gamma!r}; .05 forgets in some twenty forecasts")
        self.gamma = gamma
        self._groups: dict[str, _Learnt] = {}

    @property
    def groups(self) -> dict[str, int]:
        """How many forecasts each group has learnt from."""
        return {name: one.count for name, one in self._groups.items()}

    def factors(self, group: str) -> Array:
        """(ranges of `EDGES`, 4 intervals) that forecasts are stretched by; ones where the group has learnt nothing."""
        return np.exp(self._logs(group))

    def apply(self, forecast: Forecast, group: str | None = None) -> Forecast:
        """The forecast with the factors of now; `meta["adaptive"]` says which they were."""
        if forecast.meta.get("adaptive"):
            raise ConfigError(f"{forecast.name}: this forecast was adapted already; adapt the one it was made of")
        if forecast.samples < LEAST_SAMPLES:
            raise BarsError(f"{forecast.name}: {forecast.samples} paths have no intervals; {LEAST_SAMPLES} are needed")
        key = forecast.timeframe if group is None else group
        logs = self._logs(key)
        factors = tuple((tuple(row), tuple(row)) for row in np.exp(logs).tolist())
        returns = Table(steps=EDGES, factors=factors).apply(forecast.returns(), None)
        said = {"group": key, "log_factors": logs.tolist(), "observed": self.groups.get(key, 0)}
        return with_returns(forecast, returns, {"adaptive": said})

    def observe(self, forecast: Forecast, truth: "pd.DataFrame | NDArray[Any]", group: str | None = None) -> None:
        """Learn from what came: closes (H,), candles (H, 6) or a frame; steps that have not come yet are left out."""
        closes = _closes(truth)[: forecast.horizon]
        if not len(closes) or not (np.isfinite(closes) & (closes > 0)).all():
            raise BarsError(f"{forecast.name}: the truth must hold at least one close, all of them positive prices")
        said = forecast.meta.get("adaptive") or {}
        key = group or said.get("group") or forecast.timeframe
        issued = np.array(said.get("log_factors", np.zeros((len(EDGES), len(SHARES)))))
        learnt = self._groups.setdefault(key, _Learnt())
        steps = np.arange(1, len(closes) + 1)
        shape = Shape.of(forecast.returns()[:, : len(closes)])
        away = np.log(closes / forecast.last_close) - shape.median  # (H,)
        reach = np.where((away > 0)[:, None], shape.reach[:, 1], shape.reach[:, 0])  # (H, 4)
        ranges = np.minimum(np.searchsorted(EDGES, steps), len(EDGES) - 1)
        outside = np.abs(away)[:, None] > reach * np.exp(_along(learnt.logs - issued, steps))
        for number in np.unique(ranges):
            missed = outside[ranges == number].mean(axis=0)
            learnt.logs[number] += self.gamma * (missed - (1.0 - np.array(SHARES)))
        learnt.logs = np.clip(learnt.logs, -LIMIT, LIMIT)
        learnt.count += 1

    @classmethod
    def replay(
        cls, pairs: "Iterable[tuple[Forecast, pd.DataFrame | NDArray[Any]]]", gamma: float = GAMMA
    ) -> "AdaptiveConformal":
        """The state after these forecasts and truths, in the order given."""
        made = cls(gamma)
        for forecast, truth in pairs:
            made.observe(forecast, truth)
        return made

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the state as JSON, whole or not at all, to the last digit."""
        target = Path(path)
        groups = {name: {"count": one.count, "logs": one.logs.tolist()} for name, one in self._groups.items()}
        tree = {"format": FORMAT, "gamma": self.gamma, "edges": EDGES, "shares": SHARES, "groups": groups}
        with replacing(target) as temporary:
            temporary.write_text(json.dumps(tree, indent=1), encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "AdaptiveConformal":
        """Read a state that `save` wrote."""
        source = Path(path)
        try:
            tree = json.loads(source.read_text(encoding="utf-8"))
            if (tree["format"], tree["edges"], tree["shares"]) != (FORMAT, list(EDGES), list(SHARES)):
                raise ValueError("another format")
            made = cls(float(tree["gamma"]))
            for name, one in tree["groups"].items():
                logs = np.array(one["logs"], dtype=np.float64)
                if logs.shape != (len(EDGES), len(SHARES)) or not (np.abs(logs) <= LIMIT).all():
                    raise ValueError(f"group '{name}' has no such factors")
                made._groups[name] = _Learnt(logs, int(one["count"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{source}: not the state of an adaptive calibration ({error})") from error
        return made

    def _logs(self, group: str) -> Array:
        return self._groups[group].logs.copy() if group in self._groups else np.zeros((len(EDGES), len(SHARES)))


def _along(logs: Array, steps: NDArray[np.int64]) -> Array:
    """(H, 4) of (ranges, 4), as a table lays them along the horizon."""
    return np.stack([np.interp(np.log(steps), np.log(EDGES), column) for column in logs.T], axis=-1)


def _closes(truth: "pd.DataFrame | NDArray[Any]") -> Array:
    if isinstance(truth, pd.DataFrame):
        return truth["close"].to_numpy(dtype=np.float64)
    values = np.asarray(truth, dtype=np.float64)
    return values[:, CLOSE] if values.ndim == 2 else values
