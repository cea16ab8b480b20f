"""Past forecasts as fitting sees them: sorted samples, what came, and the intervals that were said."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kronos.errors import BarsError
from kronos.forecast.calibration.maps import Shape, crps, prob_up, shifted
from kronos.forecast.calibration.moving import recent_volatility
from kronos.forecast.calibration.tables import Table, changed, leaning

Array = NDArray[np.float64]

STILL = 1e-9  # a look-back that moves less has no unit to weigh an origin by


class Outcomes(Protocol):
    """Forecasts of N origins at K steps, and what came: whatever collected them."""

    @property
    def moves(self) -> NDArray[Any]:
        """(N, S, K) cumulative log returns of the paths."""

    @property
    def came(self) -> NDArray[Any]:
        """(N, K) of the truth."""

    @property
    def closes(self) -> NDArray[Any]:
        """(N, B) the last closes that were known."""

    @property
    def series(self) -> NDArray[Any]:
        """(N,) names."""

    @property
    def market(self) -> NDArray[Any]:
        """(N,) names."""

    @property
    def timeframe(self) -> NDArray[Any]:
        """(N,) as text."""

    @property
    def time(self) -> NDArray[Any]:
        """(N,) of the first bar that was predicted."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Forecasts of N origins at K steps, a column for each origin and step."""

    paths: NDArray[np.float32]  # (S, N, K) as they were drawn
    ordered: Array  # (S, N, K) sorted along S
    came: Array  # (N, K)
    units: Array  # (N, K) recent volatility x sqrt(step)
    time: NDArray[Any]  # (N,)
    shape: Shape  # (N * K,)
    steps: tuple[int, ...]

    @classmethod
    def of(cls, outcomes: Outcomes) -> tuple["Samples", NDArray[np.bool_]]:
        """The origins that can be fitted on, and which they are: those whose look-back and sample move."""
        volatility = recent_volatility(np.asarray(outcomes.closes, dtype=np.float64))
        moves = np.asarray(outcomes.moves, dtype=np.float64)
        good = (volatility > STILL) & (moves.std(axis=1) > 0).all(axis=1) & np.isfinite(outcomes.came).all(axis=1)
        if good.sum() < 2:
            raise BarsError(f"of {len(good)} origins {int(good.sum())} move; there is nothing to fit a calibration on")
        paths = np.moveaxis(moves[good], 1, 0)
        ordered = np.sort(paths, axis=0)
        units = volatility[good, None] * np.sqrt(np.array(outcomes.steps))
        shape = Shape.of(ordered.reshape(len(ordered), -1))
        came = np.asarray(outcomes.came, dtype=np.float64)[good]
        time, steps = np.asarray(outcomes.time)[good], tuple(outcomes.steps)
        return cls(paths.astype(np.float32), ordered, came, units, time, shape, steps), good

    def __len__(self) -> int:
        """How many origins."""
        return len(self.time)

    def at(self, which: NDArray[Any]) -> "Samples":
        """The origins that a mask or numbers name."""
        many, few = len(self), len(self.steps)
        reach = self.shape.reach.reshape(many, few, *self.shape.reach.shape[1:])[which]
        median = self.shape.median.reshape(many, few)[which]
        shape = Shape(median.reshape(-1), reach.reshape(-1, *reach.shape[2:]))
        arrays = (self.paths[:, which], self.ordered[:, which], self.came[which], self.units[which], self.time[which])
        return Samples(*arrays, shape, self.steps)

    def changed(self, table: Table, paths: NDArray[Any] | None = None) -> Array:
        """Samples (S, N, K) as a table changes them, still sorted; or `paths` in any other order."""
        many, few = self.came.shape
        factors, lean_at = np.array(table.factors), np.array(table.lean_at or [0.0] * few)
        given = self.ordered if paths is None else np.asarray(paths, dtype=np.float64)
        new = changed(
            given.reshape(len(given), -1),
            np.tile(factors, (many, 1, 1)),
            table.drift,
            table.lean,
            np.tile(lean_at, many),
            self.units.reshape(-1),
            table.up,
            self.shape,
        )
        return new.reshape(self.ordered.shape)

    def scores(self, table: Table | None = None) -> Array:
        """CRPS (N,) in units of recent volatility, the mean over steps; of the samples as they are without a table."""
        paths = self.ordered if table is None else self.changed(table)
        return self._mean(crps(paths, self.came))

    def law_scores(self, table: Table) -> Array:
        """CRPS (N,) under a table, as if every forecast's median, spread and P(up) were known exactly.

        The score of paths that were moved by what they say themselves will not do. Their centre then strays less than
        that of paths drawn one by one, and the fair CRPS takes that for skill: a perfect forecaster of a hundred paths
        seems to gain half a percent by losing its drift. So what moves a path comes from other paths than those that
        are scored with it. It is then too unsure, the more the fewer they are; halves and quarters show how much.
        """
        base = self.changed(replace(table, drift=0.0, lean=0.0, up=()), self.paths)
        halves, quarters = (self._crossed(table, base, parts) for parts in (2, 4))
        return self._mean(2.0 * halves - quarters)

    def _crossed(self, table: Table, base: Array, parts: int) -> Array:
        """(N, K) the CRPS of parts of the paths, each moved by what the next one says."""
        size, shape = len(base) // parts, self.came.shape
        found = np.zeros(shape)
        for part in range(parts):
            mine, other = (slice(at * size, (at + 1) * size) for at in (part, (part + 1) % parts))
            raw = self.paths[other].reshape(size, -1).astype(np.float64)
            median, factor, shift = crossing(table, raw, base[other].reshape(size, -1), self.units)
            new = median + factor * (base[mine].reshape(size, -1) - median) + shift
            found += crps(np.sort(new, axis=0).reshape(size, *shape), self.came) / parts
        return found

    def _mean(self, scores: Array) -> Array:
        found: Array = (scores / self.units).mean(axis=1)
        return found


def crossing(table: Table, raw: Array, base: Array, units: Array) -> tuple[Array, Array, Array]:
    """(M,) the centre, the factor and the shift that samples (S, M), raw and stretched, ask of other paths."""
    median = np.median(base, axis=0)
    factor = np.ones(len(median))
    if table.lean:
        lean_at = np.tile(np.array(table.lean_at), len(median) // len(table.steps))
        factor = leaning(Shape.of(raw), table.lean, lean_at, units.reshape(-1))[:, 0, 0]
    shift = -table.drift * median
    if table.up:
        new = median + factor * (base - median) + shift
        shift = shift + shifted(new, np.interp(prob_up(raw), *np.array(table.up).T))
    return median, factor, shift
