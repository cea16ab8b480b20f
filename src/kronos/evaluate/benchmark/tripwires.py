"""Tripwires: does the future reach the forecasts, and do the scores move as they must when the truth is tampered with?

At some of a run's origins

- `future`: the bars after the origin are changed where they lie, and read, cut and forecast from anew. The look-back
  and the forecast must stay the same byte for byte.
- `shuffled`: every truth is scored with the other origins' forecasts. A forecast knows most of its own truth (scores
  are proper), so they must not fit better than its own.
- `mirrored`: every truth is turned upside down around the last close. Prices are so hard to foretell that no honest
  forecast fits the truth more than twice as well as its mirror image; one that has seen it does.
- `lagged`: forecasts are made from bars that end a horizon too early. Stale bars must not be worth more than fresh.

Those of the bars and the scoring themselves are in `controls`.

A wire that trips makes a run worthless. To trip, a difference has to be large and many standard errors wide: with
several models and few origins chance must not do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.bars import Forecast, Forecaster
from kronos.bars.candles import CLOSE
from kronos.evaluate.benchmark.chunks import Ask, forecasts
from kronos.evaluate.benchmark.material import Material, Reread, Wire
from kronos.evaluate.benchmark.origins import UNIT_BARS
from kronos.evaluate.metrics.distribution import crps
from kronos.evaluate.scoring import scored_steps

Array = NDArray[np.float64]

BETTER, ERRORS = 0.2, 3.0  # what must not fit better does if it does so by this share, and by so many standard errors
FORETOLD, SURE = 0.5, 3.0  # of the mirror image's score: no honest forecast of prices falls below, this sure
FEWEST = 4  # origins: of fewer only `future` can be told


def try_contestant(
    name: str, forecaster: Forecaster, material: Material, ask: Ask, reread: Reread | None = None
) -> list[dict[str, Any]]:
    """What the wires find for one forecaster; at origins where it has no forecast it is not tried.

    `reread` is for forecasters in the process that reads the bars, where they might find them: with it bars are changed
    just before the forecasts that must not know of it, and changed back after them.
    """
    pasts = material.chunk.pasts if reread is None else reread(False)
    fresh = forecasts(forecaster, pasts, material.chunk.times, ask)
    again = forecasts(forecaster, material.altered if reread is None else reread(True), material.chunk.times, ask)
    if reread is not None:
        reread(False)
    found = [_future(name, forecaster, material, ask, fresh, again)]
    made = [(i, one) for i, one in enumerate(fresh) if isinstance(one, Forecast)]
    if len(made) >= FEWEST:
        trial = _Trial(name, material, ask, np.array([i for i, _ in made]), [one for _, one in made])
        stale = forecasts(forecaster, material.stale.pasts, material.stale.times, ask)
        found += [_shuffled(trial), _mirrored(trial), _lagged(trial, stale)]
    return [wire.tree() for wire in found]


@dataclass(frozen=True)
class _Trial:
    """A contestant's forecasts at the material's origins."""

    name: str
    material: Material
    ask: Ask
    which: NDArray[np.int64]  # of the material's origins
    made: Sequence[Forecast]

    @property
    def at(self) -> NDArray[np.int64]:
        return np.array(scored_steps(self.ask.steps, self.ask.horizon)) - 1

    def score(self, moves: Array, origin: int, sign: float = 1.0) -> float:
        """The CRPS, in the units of an origin, of moves (S, H) against its truth, or its mirror image."""
        past, truth = self.material.chunk.pasts[origin], self.material.chunk.truths[origin]
        closes, at = past["close"].to_numpy(dtype=np.float64), self.at
        unit = np.diff(np.log(closes))[-UNIT_BARS:].std() * np.sqrt(at + 1.0)
        return float((crps(moves[:, at], sign * np.log(truth[at, CLOSE] / closes[-1])) / unit).mean())

    def own(self, sign: float = 1.0) -> Array:
        """Every forecast against its own truth."""
        pairs = zip(self.made, self.which.tolist(), strict=True)
        return np.array([self.score(one.returns(), origin, sign) for one, origin in pairs])

    def judged(self, wire: str, difference: Array, base: float, what: str) -> Wire:
        """Of scores that must not be better than what they are held against: `difference` is theirs less that."""
        mean, error = float(difference.mean()), self.material.error(difference, self.which)
        tripped = mean < -BETTER * base and mean < -ERRORS * error
        sentence = f"{what} change CRPS by {mean / base:+.1%} +- {error / base:.1%}"
        sentence += f", of {base:.3f}: they must not make it better" if not tripped else (
            f": they fit the truth better than they may (own {base:.3f}); bars, forecasts or truths are out of step"
        )  # fmt: skip
        return Wire(wire, self.name, not tripped, mean / base, error / base, len(difference), sentence)


def _future(
    name: str,
    forecaster: Forecaster,
    material: Material,
    ask: Ask,
    fresh: Sequence[Forecast | str],
    again: Sequence[Forecast | str],
) -> Wire:
    changed = [not _same(one, other) for one, other in zip(fresh, again, strict=True)]
    count, of = sum(changed), len(changed)
    if not count:
        sentence = f"forecasts stay the same, byte for byte, when the bars after {of} origins are changed"
    elif all(map(_same, fresh, forecasts(forecaster, material.chunk.pasts, material.chunk.times, ask))):
        sentence = f"{count} of {of} forecasts change when the bars after their origins do: they see the future"
    else:
        sentence = (
            f"{count} of {of} forecasts are others when they are made again from the same bars: equal arguments must "
            "give equal paths, or nobody can tell what they depend on"
        )
    return Wire("future", name, not count, count / of, float("nan"), of, sentence)


def _shuffled(trial: _Trial) -> Wire:
    moves = [one.returns() for one in trial.made]
    scores = np.array(
        [[trial.score(one, origin) for origin in trial.which.tolist()] for one in moves]
    )  # forecast, truth
    own = scores.diagonal()
    others = (scores.sum(axis=0) - own) / (len(own) - 1)
    return trial.judged("shuffled", others - own, float(own.mean()), "other origins' forecasts")


def _mirrored(trial: _Trial) -> Wire:
    own, mirrored = trial.own(), trial.own(sign=-1.0)
    mean, base = float((mirrored - own).mean()), float(mirrored.mean())
    error = trial.material.error(mirrored - own, trial.which)
    ratio = float(own.mean()) / base
    tripped = ratio < FORETOLD and mean > SURE * error
    sentence = f"CRPS is {ratio:.2f} +- {error / base:.2f} of that against the truth turned upside down"
    if tripped:
        sentence += f": below {FORETOLD:g} no honest forecast of prices comes; the truth is seen"
    return Wire("mirrored", trial.name, not tripped, ratio, error / base, len(own), sentence)


def _lagged(trial: _Trial, stale: Sequence[Forecast | str]) -> Wire:
    places = {number: i for i, number in enumerate(trial.material.chunk.numbers)}
    own = dict(zip(trial.which.tolist(), trial.own(), strict=True))
    rows = [
        (places[number], one)
        for number, one in zip(trial.material.stale.numbers, stale, strict=True)
        if isinstance(one, Forecast) and places[number] in own
    ]
    if len(rows) < FEWEST:
        sentence = "too few series are long enough for forecasts that are made a horizon too early"
        return Wire("lagged", trial.name, True, float("nan"), float("nan"), len(rows), sentence)
    which = np.array([place for place, _ in rows])
    late = np.array([trial.score(one.returns(), place) for place, one in rows])
    base = np.array([own[place] for place in which.tolist()])
    part = _Trial(trial.name, trial.material, trial.ask, which, [one for _, one in rows])
    return part.judged("lagged", late - base, float(base.mean()), "forecasts made a horizon too early")


def _same(one: Forecast | str, other: Forecast | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.paths.shape == other.paths.shape and one.paths.tobytes() == other.paths.tobytes()
