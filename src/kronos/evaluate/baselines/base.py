"""What all baselines share: the ways to be asked, random numbers that belong to the bars, and candles around closes.

A baseline says how the close may go on, as cumulative log returns (S, H); the rest is the same for all. Its draws are
independent: antithetic or stratified ones would lower the noise of a mean, but they widen the differences between
paths, and the fair CRPS, which takes half of those off, would flatter them by up to 1 % at 100 paths.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.bars.asking import check_asked, shaped
from kronos.bars.forecast import Times
from kronos.evaluate.baselines.asking import Past, read_pasts
from kronos.evaluate.baselines.candles import dressed

Array = NDArray[np.float64]
F = TypeVar("F")

FARTHEST = 20.0  # no path leaves exp(+-20) of the last close, so that prices stay finite and positive
CANDLES = 1  # the random numbers of wicks and volumes are not those of the closes


class Walk(NamedTuple):
    """How the close may go on, and what is to be told of it."""

    moves: Array  # (S, H) log returns since the last close
    told: Mapping[str, Any]  # JSON-able


class Baseline(ABC):
    """A `Forecaster` that reads the look-back and nothing else. Ours can be pickled and need no argument."""

    least: int = 8
    """Fewer bars than this are refused."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables and ledgers call it."""

    @abstractmethod
    def walks(self, pasts: Sequence[Past], samples: int, seed: int) -> Sequence[Walk]:
        """A walk for every look-back; none of them stands still."""

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

    def forecast(
        self,
        data: pd.DataFrame | Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame],
        horizon: int,
        *,
        samples: int = 100,
        seed: int = 0,
        y_timestamp: Any = None,
    ) -> Forecast | list[Forecast] | dict[str, Forecast]:
        """`samples` paths of the next `horizon` candles, in the shape of `data`; equal arguments give equal paths.

        A look-back that stood still goes on standing still. The future's time stamps follow from the bars' own, or are
        given as `y_timestamp`.
        """
        check_asked(horizon, samples, seed)
        pasts = read_pasts(data, horizon, y_timestamp, self.least)
        moving = [past for past in pasts if not past.still]
        walks = iter(self.walks(moving, samples, int(seed)) if moving else [])
        still = Walk(np.zeros((samples, horizon)), {"still": True})
        made = [self._forecast(past, still if past.still else next(walks), int(seed)) for past in pasts]
        return shaped(made, data)

    def _forecast(self, past: Past, walk: Walk, seed: int) -> Forecast:
        moves = np.clip(walk.moves, -FARTHEST, FARTHEST)
        return Forecast(
            paths=dressed(past, moves, past.random(seed, CANDLES)),
            timestamps=past.future,
            last_close=float(past.bars["close"].iloc[-1]),
            history=past.bars,
            name=past.name,
            timeframe=str(past.timeframe),
            meta={
                "model": self.name,
                "seed": seed,
                "lookback": len(past.bars),
                "calendar": past.calendar,
                "fitted": dict(walk.told),
            },
        )


class Fitted(Baseline, Generic[F]):
    """A baseline in two steps: all look-backs are fitted at once, then each is drawn from."""

    @abstractmethod
    def fit(self, pasts: Sequence[Past]) -> Sequence[F]:
        """What was fitted to every look-back."""

    @abstractmethod
    def draw(self, past: Past, fit: F, samples: int, random: np.random.Generator) -> Array:
        """(S, H) log returns since the last close."""

    def walks(self, pasts: Sequence[Past], samples: int, seed: int) -> Sequence[Walk]:
        """Fit, and draw with the numbers of every look-back's own."""
        return [
            Walk(self.draw(past, fit, samples, past.random(seed)), self.told(fit))
            for past, fit in zip(pasts, self.fit(pasts), strict=True)
        ]

    def told(self, fit: F) -> Mapping[str, Any]:
        """What a forecast says of its fit, JSON-able."""
        return dict(vars(fit))
