"""What was fitted for one group of forecasts: numbers at a few steps of the horizon, and all that lies in between."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.errors import CheckpointError
from kronos.forecast.calibration.maps import SHARES, Shape, prob_up, shifted, stretched

Array = NDArray[np.float64]

LOWEST, HIGHEST = 0.2, 5.0  # no factor is believed beyond these
DIGITS = 5  # what is written of every number
LEAN_LIMIT = 1.5  # in log units: how far from usual the recent volatility is believed to be


@dataclass(frozen=True)
class Table:
    """How returns are changed, for forecasts of one group.

    With c the median of a step's sample and v the deviation of recent one-bar returns: c loses the share `drift`;
    deviations from it are stretched by `factors` at the ends of the sample's own central intervals, and all of them by
    exp(lean (log(v sqrt(h) / spread) - lean_at)); then the sample is shifted so that P(up) is what `up` says.
    """

    steps: tuple[int, ...]
    factors: tuple[tuple[tuple[float, ...], ...], ...]  # (K, 2, 4): downwards and upwards, of `SHARES`
    drift: float = 0.0
    lean: float = 0.0
    lean_at: tuple[float, ...] = ()  # (K,)
    up: tuple[tuple[float, float], ...] = ()  # knots of a non-decreasing map of P(up); none leaves it as it is
    origins: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers that are no calibration."""
        steps, factors = np.array(self.steps), np.array(self.factors, dtype=np.float64)
        knots = np.array(self.up, dtype=np.float64).reshape(-1, 2)
        wrong = {
            "steps": not len(steps) or steps.min() < 1 or bool((np.diff(steps) <= 0).any()),
            "factors": factors.shape != (len(steps), 2, len(SHARES))
            or not ((factors >= LOWEST) & (factors <= HIGHEST)).all(),
            "drift": not 0 <= self.drift <= 1,
            "lean": not 0 <= self.lean <= 1,
            "lean_at": len(self.lean_at) not in (0, len(steps)) or not np.isfinite(self.lean_at).all(),
            "up": not ((knots > 0) & (knots < 1)).all()
            or bool((np.diff(knots[:, 0]) <= 0).any())
            or bool((np.diff(knots[:, 1]) < 0).any()),
        }
        bad = [name for name, is_wrong in wrong.items() if is_wrong]
        if bad:
            raise CheckpointError(f"a calibration's table has no such {', '.join(bad)}")

    def at(self, horizon: int) -> tuple[Array, Array]:
        """Factors (H, 2, 4) and `lean_at` (H,) of every step: straight lines in log step, held beyond the ends."""
        where, known = np.log(np.arange(1, horizon + 1)), np.log(self.steps)
        logs = np.log(np.array(self.factors)).reshape(len(known), -1)
        between = np.stack([np.interp(where, known, column) for column in logs.T], axis=-1)
        lean_at = np.interp(where, known, self.lean_at) if self.lean_at else np.zeros(horizon)
        return np.exp(between).reshape(horizon, 2, len(SHARES)), lean_at

    def apply(self, moves: Array, volatility: float | None) -> Array:
        """Returns (S, H) as they should have been; `volatility` is that of recent one-bar returns, None if unknown."""
        horizon = moves.shape[1]
        factors, lean_at = self.at(horizon)
        units = None if volatility is None else volatility * np.sqrt(np.arange(1, horizon + 1))
        return changed(moves, factors, self.drift, self.lean, lean_at, units, self.up)

    def tree(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "steps": list(self.steps),
            "factors": np.round(self.factors, DIGITS).tolist(),
            "drift": round(self.drift, DIGITS),
            "lean": round(self.lean, DIGITS),
            "lean_at": np.round(self.lean_at, DIGITS).tolist(),
            "up": np.round(self.up, DIGITS).tolist(),
            "origins": self.origins,
            "notes": dict(self.notes),
        }

    @classmethod
    def of(cls, tree: Mapping[str, Any], where: str) -> "Table":
        """From JSON."""
        try:
            return cls(
                steps=tuple(int(step) for step in tree["steps"]),
                factors=tuple(tuple(tuple(float(f) for f in side) for side in step) for step in tree["factors"]),
                drift=float(tree["drift"]),
                lean=float(tree["lean"]),
                lean_at=tuple(float(value) for value in tree["lean_at"]),
                up=tuple((float(x), float(y)) for x, y in tree["up"]),
                origins=int(tree["origins"]),
                notes=dict(tree.get("notes", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: not a table of a calibration ({type(error).__name__}: {error})") from error
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error


def changed(
    moves: Array,
    factors: Array,
    drift: float,
    lean: float,
    lean_at: Array,
    units: Array | None,
    up: tuple[tuple[float, float], ...] = (),
    shape: Shape | None = None,
) -> Array:
    """Samples (S, M), column by column, with factors (M, 2, 4), `lean_at` (M,) and units (M,) of their own."""
    shape = Shape.of(moves) if shape is None else shape
    new = (1.0 - drift) * shape.median + stretched(moves, shape, factors * leaning(shape, lean, lean_at, units))
    if up:
        said, meant = np.array(up).T
        new = new + shifted(new, np.interp(prob_up(moves), said, meant))
    return new


def leaning(shape: Shape, lean: float, lean_at: Array, units: Array | None) -> Array:
    """(M, 1, 1) what recent volatility makes of the spread; 1 where either stands still."""
    if not lean or units is None:
        return np.ones((len(shape.median), 1, 1))
    both = (units > 0) & (shape.spread > 0)
    ratio = np.log(np.where(both, units, 1.0) / np.where(both, shape.spread, 1.0)) - lean_at
    factor = np.exp(lean * np.clip(ratio, -LEAN_LIMIT, LEAN_LIMIT))
    return np.where(both, factor, 1.0)[:, None, None]
