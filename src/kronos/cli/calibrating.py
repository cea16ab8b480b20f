"""The work behind `kronos evaluate calibrate`: forecasts from one room, what is fitted on them from another."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kronos.bars import Forecaster
    from kronos.evaluate import Figures
    from kronos.evaluate.benchmark.origins import Origin
    from kronos.evaluate.benchmark.outcomes import Outcomes
    from kronos.evaluate.benchmark.reporting import Reporter
    from kronos.forecast.calibration import Calibration

WORSE = 0.01  # how much CRPS may lose before a calibration is refused
LEAST_JUDGED = 100  # later origins from which on a group is judged by itself
COVERS = (50, 80, 90, 95)


@dataclass(frozen=True)
class Wanted:
    """What is asked for: how forecasts are made, and how the calibration is fitted on them."""

    steps: tuple[int, ...]
    samples: int
    seed: int
    ways: tuple[tuple[float, float], ...]  # T and top_p
    sampler_origins: int
    check_share: float
    fit: Mapping[str, Any] = field(default_factory=dict)  # by, drift, lean, sides, up, narrow

    def without_narrowing(self) -> "Wanted":
        """The same, but no band is made narrower."""
        return replace(self, fit={**self.fit, "narrow": False})


@dataclass(frozen=True)
class Row:
    """A group of held-out origins: how good raw and calibrated forecasts of them are."""

    origins: int
    crps: tuple[float, float]
    change: float  # of CRPS, as a share; below 0 is better
    error: float
    covers: Mapping[int, tuple[float, float]]

    def tree(self) -> dict[str, Any]:
        """Ready for JSON."""
        covers = {f"coverage{percent}": list(both) for percent, both in self.covers.items()}
        return {
            "origins": self.origins,
            "crps": list(self.crps),
            "change": self.change,
            "change_se": self.error,
        } | covers


def collect_all(
    forecaster: "Forecaster", origins: "Sequence[Origin]", wanted: Wanted, folder: Path, reporter: "Reporter"
) -> "tuple[Outcomes, dict[str, float], list[dict[str, Any]]]":
    """Forecasts and truths, with the best way of sampling; that way; and what the others would have given."""
    from kronos.evaluate.benchmark.outcomes import balanced, collect
    from kronos.forecast import KronosForecaster
    from kronos.forecast.calibration.comparing import choose_sampler

    how: dict[str, Any] = {"steps": wanted.steps, "samples": wanted.samples, "seed": wanted.seed, "reporter": reporter}
    network = isinstance(forecaster, KronosForecaster) or hasattr(forecaster, "members")
    way, notes = wanted.ways[0], list[dict[str, Any]]()
    if len(wanted.ways) > 1:
        few = balanced(origins, wanted.sampler_origins)
        tried = {
            one: collect(forecaster, few, folder / _named(one), options=_options(one), **how) for one in wanted.ways
        }
        way, notes = choose_sampler(tried)
        reporter.say(f"sampling with T {way[0]:g} and top_p {way[1]:g}")
    options = _options(way) if network else {}
    return collect(forecaster, origins, folder / f"all-{_named(way)}", options=options, **how), options, notes


def check(outcomes: "Outcomes", wanted: Wanted) -> dict[str, Row]:
    """Fit on the earlier origins, and judge by the later ones: a row for "all", each group, and each market in it."""
    from kronos.evaluate import paired
    from kronos.evaluate.benchmark.outcomes import score_outcomes
    from kronos.forecast.calibration import fit
    from kronos.forecast.calibration.comparing import calibrated_moves

    earlier, later = outcomes.split(wanted.check_share)
    moves = calibrated_moves(fit(earlier, **wanted.fit), later)
    raw, new = score_outcomes(later), score_outcomes(later, moves)
    rows = {}
    for name, mine in _groups(later, wanted.fit.get("by", "timeframe")).items():
        before, after = ({key: values[mine] for key, values in one.items()} for one in (raw, new))
        _, error = paired(after, before)
        rows[name] = _row(before, after, error)
    return rows


def refusal(rows: Mapping[str, Row]) -> str:
    """Why this calibration had better not be written; nothing where it may."""
    for name, row in rows.items():
        judged = name == "all" or (row.origins >= LEAST_JUDGED and "/" not in name)
        if judged and row.change > WORSE:
            return (
                f"on {row.origins:,} later origins ({name}) CRPS is {row.change:.1%} worse than without a calibration; "
                "give more origins or a longer time, or --force to write it all the same"
            )
    return ""


def fitted(
    outcomes: "Outcomes", wanted: Wanted, sampler: Mapping[str, float], facts: Mapping[str, Any], weights: str | None
) -> "Calibration":
    """The calibration of all origins."""
    from kronos.forecast.calibration import fit

    cells = Counter(f"{market}/{tf}" for market, tf in zip(outcomes.market, outcomes.timeframe, strict=True))
    span = [str(moment)[:10] for moment in (outcomes.time.min(), outcomes.until.max())]
    told = {
        "origins": len(outcomes),
        "span": span,
        "samples": outcomes.moves.shape[1],
        "cells": dict(sorted(cells.items())),
    }
    said = outcomes.facts
    made = fit(
        outcomes,
        **wanted.fit,
        model=str(said.get("model", facts.get("model", ""))),
        weights=weights,
        sampler={"T": 1.0, "top_k": 0, "top_p": 1.0, **sampler} if sampler else {},
        facts={**told, "cutoff": said.get("cutoff"), **facts},
    )
    return replace(made, created=datetime.datetime.now(datetime.UTC).date().isoformat())


def _groups(outcomes: "Outcomes", by: str) -> dict[str, Any]:
    """Masks by name: of all, of the groups that are fitted, and of markets by timeframes."""
    import numpy as np

    found = {"all": np.ones(len(outcomes), dtype=bool)}
    keys = np.full(len(outcomes), "all") if by == "all" else getattr(outcomes, by)
    found |= {str(key): keys == key for key in np.unique(keys) if by != "all"}
    cells = np.char.add(np.char.add(outcomes.market, "/"), outcomes.timeframe)
    return found | {str(cell): cells == cell for cell in np.unique(cells)}


def _row(before: "Figures", after: "Figures", error: float) -> Row:
    import numpy as np

    crps = float(np.nanmean(before["crps"])), float(np.nanmean(after["crps"]))
    covers = {c: tuple(float(one[f"cover{c}"].mean()) for one in (before, after)) for c in COVERS}
    return Row(len(before["time"]), crps, crps[1] / crps[0] - 1.0, error / crps[0], covers)  # type: ignore[arg-type]


def _options(way: tuple[float, float]) -> dict[str, float]:
    return {"T": way[0], "top_p": way[1]}


def _named(way: tuple[float, float]) -> str:
    return f"T{way[0]:g}-p{way[1]:g}"
