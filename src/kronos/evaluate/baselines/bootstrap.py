"""The look-back's own returns once more, in blocks: their law and what short dependence they have, and no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.base import Fitted

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """How the returns are drawn."""

    mean_length: float


@dataclass(frozen=True)
class BlockBootstrap(Fitted[Blocks]):
    """The stationary bootstrap of Politis and Romano (1994) of one-bar log returns, centred: no drift.

    Blocks begin anywhere in the look-back, which is joined end to start, and last n^(1/3) bars on average.
    """

    least = 30

    @property
    def name(self) -> str:
        """bootstrap."""
        return "bootstrap"

    def fit(self, pasts: Sequence[Past]) -> list[Blocks]:
        """The mean length of a block."""
        return [Blocks(float(np.cbrt(len(past.changes)))) for past in pasts]

    def draw(self, past: Past, fit: Blocks, samples: int, random: np.random.Generator) -> Array:
        """Returns of blocks, one after the other."""
        count, shape = len(past.changes), (samples, past.horizon)
        fresh = random.random(shape) < 1.0 / fit.mean_length
        fresh[:, 0] = True
        step = np.arange(past.horizon)
        begun = np.maximum.accumulate(np.where(fresh, step, 0), axis=1)  # where the block of every step began
        starts = np.take_along_axis(random.integers(0, count, shape), begun, axis=1)
        chosen = (starts + step - begun) % count
        centred = past.changes - past.changes.mean()
        moves: Array = centred[chosen].cumsum(axis=1)
        return moves
