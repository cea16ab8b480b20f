"""The tables of a benchmark: who leads, by how much, where, and how sure that is. Frames with columns that stay.

A column `NAME_se` is the standard error of the column `NAME` (metrics.uncertainty: origins near in time, and those of
one asset, share their luck). `ratio_best` is mean CRPS over that of the best baseline (for this one itself: of the
next), `ratio_hv20` over that of a Gaussian with the last 20 bars' volatility; below 1 is better. The best baseline is
the same one in every row of every table: choosing one for each row would flatter none but chance.
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos.errors import ConfigError
from kronos.evaluate.benchmark.calibration_tables import calibration, coverage, pit, pit_distance, reliability, spread
from kronos.evaluate.benchmark.cross_section import cross_section
from kronos.evaluate.benchmark.panel import LEVELS, Array, Cut, Panel, Rows
from kronos.evaluate.benchmark.results import plain
from kronos.evaluate.metrics.volatility import r2

if TYPE_CHECKING:
    from kronos.evaluate.benchmark.results import Results

PRICE = 0.04
"""Dollars for an hour of one core: what a rented virtual core costs, roughly."""

MEANS = (
    "crps", "energy", "variogram", "pinball",
    *(f"cover{level}" for level in LEVELS), *(f"width{level}" for level in LEVELS),
    "brier", "brier_touch", "direction", "direction_steps", "bias", "mae", "mape", "rmse",
    "close_correlation", "rank_correlation", "qlike",
)  # fmt: skip
"""The figures of which the leaderboard has plain means."""


def all_tables(results: "Results", *, price: float = PRICE) -> dict[str, pd.DataFrame]:
    """Every table by name; `price` is of one core's hour."""
    panel = Panel.of(results)
    return {
        "leaderboard": leaderboard(panel, results.facts, price=price),
        "comparisons": comparisons(panel),
        "slices": slices(panel),
        "steps": steps(panel),
        "coverage": coverage(panel),
        "calibration": calibration(panel),
        "pit": pit(panel),
        "reliability": reliability(panel),
        "width_error": spread(panel),
        "cross_section": cross_section(panel),
    }


def leaderboard(panel: Panel, facts: Mapping[str, Mapping[str, Any]], *, price: float = PRICE) -> pd.DataFrame:
    """A row for each model, best CRPS first.

    Beside the means and their errors: `rival`, whom `ratio_best` is of; `spans`, how many predictions share no moment;
    `before_cutoff`, how many origins the model may have been trained on; `direction_p`, of a coin's being right so
    often, and `over_always`, what is left of `direction` when `always` is taken off, the share that always saying up
    (or always down) gets right; `crps_low` and `crps_high`, a 95 % interval by block bootstrap; `pit_ks`, how far
    the PIT is from uniform, and `pit_ks_chance`, what a calibrated one stays below in 95 of 100 such tests; volatility
    said against volatility that came, as `volatility_r2` (of levels) and, in units of the look-back's,
    `volatility_mae`; `seconds` a forecast, and `cost_per_1000` forecasts at `price` for an hour of one core.
    """
    if not (math.isfinite(price) and price >= 0):
        raise ConfigError(f"the price of one core's hour is a number of at least 0, not {price!r}")
    return pd.DataFrame([_leader(panel, name, facts.get(name, {}), price) for name in panel.order])


def comparisons(panel: Panel) -> pd.DataFrame:
    """Every model beside every baseline at the same origins: the difference and the ratio of CRPS, and their errors.

    `p` is of a difference so large where there is none, two-sided; `calibration` is how much further the model's
    coverage is from what it should be (mean over the levels, below 0 is better), `qlike` the same of its volatility.
    """
    pairs = [(name, other) for name in panel.order for other in panel.order if other in panel.baselines]
    return pd.DataFrame(
        [_pair(panel, name, other) for name, other in pairs if name != other],
        columns=[
            "model", "against", "origins", "difference", "difference_se", "p", "ratio", "ratio_se",
            "calibration", "calibration_se", "qlike", "qlike_se",
        ],
    )  # fmt: skip


def slices(panel: Panel) -> pd.DataFrame:
    """Every model at some of the origins: by market, timeframe, both, volatility regime, year, and cut-off.

    The cut-off is each model's own: `before` are origins whose first predicted bar it may have been trained on.
    """
    every = Cut("all", "all", panel.every)
    rows = [_slice(panel, name, cut) for cut in (every, *panel.cuts()) for name in panel.order]
    for name in panel.order:
        before = panel.values(name, "before_cutoff") > 0
        if before.any():
            cuts = (Cut("cut-off", "before", before), Cut("cut-off", "after", ~before))
            rows += [_slice(panel, name, cut) for cut in cuts if cut.rows.any()]
    return pd.DataFrame(rows)


def steps(panel: Panel) -> pd.DataFrame:
    """Every model at every step of the horizon that is scored."""
    return pd.DataFrame(
        [_step(panel, name, step) for step in panel.steps for name in panel.order],
        columns=None if panel.steps else ["model", "step"],
    )


def as_tree(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[dict[str, Any]]]:
    """The tables as lists of rows, ready for JSON; what is not a number is null."""
    return {name: plain(table.to_dict("records")) for name, table in tables.items()}


def as_json(tables: Mapping[str, pd.DataFrame]) -> str:
    """The tables as JSON."""
    return json.dumps(as_tree(tables), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


# Rows -----------------------------------------------------------------------------------------------------------------


def _leader(panel: Panel, name: str, facts: Mapping[str, Any], price: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": name,
        "kind": "baseline" if name in panel.baselines else "model",
        "rival": panel.rival(name),
        **{what: facts.get(what) for what in ("cutoff", "calibration", "samples")},
        "origins": len(panel),
        "days": len(np.unique(panel.days)),
        "spans": panel.spans_apart(),
        "before_cutoff": int((panel.values(name, "before_cutoff") > 0).sum()),
    }
    row |= panel.mean(name, "crps").named("crps")
    row["crps_low"], row["crps_high"] = panel.interval(panel.values(name, "crps"))
    row |= _ratios(panel, name, panel.every)
    rival = panel.rival(name)
    theirs = panel.values(rival, "crps") if rival is not None else np.full(len(panel), np.nan)
    row["ratio_best_low"], row["ratio_best_high"] = panel.interval(panel.values(name, "crps"), theirs)
    for figure in MEANS[1:]:
        row |= panel.mean(name, figure).named(figure)
    row |= _direction(panel, name)
    row["pit_ks"], row["pit_ks_chance"] = pit_distance(panel, name)
    row |= _volatility(panel, name)
    seconds = facts.get("seconds", float(np.nanmedian(panel.values(name, "seconds"))))
    cores = facts.get("cores", 1)
    row["seconds"], row["cores"] = seconds, cores
    row["cost_per_1000"] = 1000.0 * float(seconds) * float(cores) * price / 3600.0
    return row


def _direction(panel: Panel, name: str) -> dict[str, float]:
    """How likely so many right directions are of a coin, and how many more they are than always saying the same has."""
    right, rose = panel.mean(name, "direction"), panel.values(name, f"rose_{max(panel.steps, default=0)}")
    up = panel.estimate(rose)
    always = rose if up.value >= 0.5 else 1.0 - rose
    return {
        "direction_p": panel.p_value(right, 0.5),
        "always": max(up.value, 1.0 - up.value),
        **panel.estimate(panel.values(name, "direction") - always).named("over_always"),
    }


def _ratios(panel: Panel, name: str, rows: Rows, step: int | None = None) -> dict[str, float]:
    """CRPS over that of the Gaussian baseline and of the best baseline."""
    end = "" if step is None else f"_{step}"
    mine, rival = panel.values(name, f"crps{end}"), panel.rival(name)
    found = panel.ratio(mine, panel.values(name, f"hv20_crps{end}"), rows).named("ratio_hv20")
    theirs = np.full(len(panel), np.nan) if rival is None else panel.values(rival, f"crps{end}")
    return found | panel.ratio(mine, theirs, rows).named("ratio_best")


def _pair(panel: Panel, name: str, other: str) -> dict[str, Any]:
    difference = panel.difference(name, other)
    mine, theirs = (panel.values(one, "crps") for one in (name, other))
    return {
        "model": name,
        "against": other,
        "origins": int((np.isfinite(mine) & np.isfinite(theirs)).sum()),
        **difference.named("difference"),
        "p": panel.p_value(difference, 0.0),
        **panel.ratio(mine, theirs).named("ratio"),
        **panel.estimate(_miss(panel, name) - _miss(panel, other)).named("calibration"),
        **panel.difference(name, other, "qlike").named("qlike"),
    }


def _miss(panel: Panel, name: str) -> Array:
    """(N,) whose mean is how far coverage is from what it should be, over the levels; up or down, by the whole's sign.

    That sign is taken as known, which makes a mean of it an ordinary mean, with an ordinary error.
    """
    found = []
    for level in LEVELS:
        off = panel.values(name, f"cover{level}") - level / 100.0
        there = np.isfinite(off)
        found.append(off * (np.sign(off[there].mean()) if there.any() else 1.0))
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def _slice(panel: Panel, name: str, cut: Cut) -> dict[str, Any]:
    row: dict[str, Any] = {
        "slice": cut.slice,
        "group": cut.group,
        "model": name,
        "origins": int(cut.rows.sum()),
        "days": len(np.unique(panel.days[cut.rows])),
        **panel.mean(name, "crps", cut.rows).named("crps"),
        **_ratios(panel, name, cut.rows),
    }
    for figure in ("cover50", "cover90", "width90", "direction", "bias", "qlike"):
        row |= panel.mean(name, figure, cut.rows).named(figure)
    return row


def _step(panel: Panel, name: str, step: int) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "step": step}
    row |= panel.mean(name, f"crps_{step}").named("crps") | _ratios(panel, name, panel.every, step)
    for figure in (*(f"cover{level}" for level in LEVELS), "width90"):
        row |= panel.mean(name, f"{figure}_{step}").named(figure)
    said, rose = (panel.values(name, f"{what}_{step}") for what in ("up", "rose"))
    right = 0.5 + 0.5 * np.sign(said - 0.5) * np.sign(rose - 0.5)  # a tie of either counts half
    return row | panel.estimate(right).named("direction")


def _volatility(panel: Panel, name: str) -> dict[str, float]:
    """How well the volatility of the whole horizon was said."""
    said, came = (np.sqrt(panel.values(name, f"{what}_variance")) for what in ("said", "came"))
    unit = panel.values(name, "volatility_unit") * math.sqrt(panel.horizon)
    there = np.isfinite(said) & np.isfinite(came) & (unit > 0)
    apart = np.full(len(panel), np.nan)
    apart[there] = np.abs(said[there] - came[there]) / unit[there]
    known = float(r2(said[there], came[there])) if there.any() else float("nan")
    return {"volatility_r2": known, **panel.estimate(apart).named("volatility_mae")}
