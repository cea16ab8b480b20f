"""The words of a benchmark's report: what was judged, what was left out, what the figures mean, how to do it again."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kronos.evaluate.benchmark.panel import Panel
from kronos.evaluate.benchmark.wording import counted, listed

if TYPE_CHECKING:
    from kronos.evaluate.benchmark.results import Results

MOST_NAMES = 12

_LEFT_OUT = {
    "excluded": "left out by name",
    "refused": "refused, because they are no bars",
    "mixed": "prices of two contracts take turns in them, and no forecast of such prices means anything",
    "short": "too short for the window and the dates",
    "before_cutoff": "all their windows begin before a model's cut-off",
    "still": "origins at which the market stood still, so that there is no unit to score in",
    "failed": "origins at which a forecast failed; they count for no model",
}

CAPTIONS = {
    "leaderboard": "The dot of the best baseline marks the line at 1.",
    "horizon": "How the comparison changes as the forecast reaches further ahead.",
    "places": "A cell with few origins says little; its number of origins is below the ratio.",
    "regimes": "Calm and wild are of the market just before the forecast, not of what came.",
    "calibration": "From the PIT of all scored steps. A right forecast lies on the line for bands of every size.",
    "coverage": "Width is neither good nor bad by itself: of two that hold what they say, the narrower knows more.",
    "pit": "Which share of truths fell into each tenth of what was said, all scored steps together.",
    "reliability": "Of all forecasts that said so much, the share at which it happened.",
    "width_error": "Every dot is as many forecasts, sorted by how wide their band is at the end of the horizon.",
    "speed": "Seconds as they were measured on the machine that ran this benchmark.",
}
"""What is said below each picture."""

METHOD: tuple[tuple[str, str], ...] = (
    ("Origin", "A moment from which is forecast. A model sees the look-back before it and nothing else; what came is "
     "fetched after it has spoken. All models are judged at the same origins."),
    ("u", "The unit of scores: the standard deviation of the last 100 one-bar log returns of the look-back, times the "
     "root of the number of bars ahead. In it quiet and wild markets, and steps near and far, weigh alike."),
    ("CRPS", "How far a distribution is from what came: the mean distance of its paths from the truth, less half of "
     "their mean distance from each other. It rewards being close and being as unsure as one ought to be. Of the "
     "cumulative log return, in u, mean over the scored steps; lower is better."),
    ("Best baseline", "The one with the lowest mean CRPS here, and the same one in every table, picture and part. It "
     "is chosen after the fact, which is a little unfair to the models that are held against it. It is itself held "
     "against the next one."),
    ("hv20", "In ratios: the CRPS, in closed form, of a Gaussian without drift that has the volatility of the last 20 "
     "bars."),
    ("±", "One standard error. Origins near each other in time, and those of one asset, share their luck, so whole "
     "blocks of time and whole assets are taken as one observation where that says more; of several lengths of block "
     "the worst is believed. Pictures show two standard errors. The 95 % interval comes from drawing whole stretches "
     "of days again and again (stationary block bootstrap)."),
    ("p", "How likely a difference so large is where there is none; two-sided, by Student's t with as many degrees of "
     "freedom as there are blocks of time, less one."),
    ("Bands", "Of 100 truths the central 90 % band ought to hold 90. Too few: the model is too sure of itself. Width "
     "is in u."),
    ("PIT", "Where the truth lies among the paths, from 0 to 1. It is uniform if the distribution is right."),
    ("Right direction", "The share of origins at which most paths end on the true side of the last close; ties count "
     "half. Always saying up (or always down, whichever was right more often here) is what an edge has to beat."),
    ("Brier", "The mean squared distance between a probability that was said and what happened (1 or 0). Touch: that "
     "a high or low goes further than u from the last close within the horizon."),
    ("Energy, variogram", "Scores of whole paths of closes: how close they are, and whether steps move together as "
     "they should."),
    ("Volatility", "The root of the mean, over paths, of the sum of squared one-bar log returns, against the true one. "
     "QLIKE is r - log r - 1 of the variances, r being the true over the said."),
    ("IC, RankIC", "On each day with at least five assets of a timeframe: the correlation across them of the return "
     "that was said with the one that came. ICIR is the mean over days by its deviation, t is Newey and West's."),
    ("Regime", "The deviation of the last 20 returns over that of all in the look-back, in thirds of all origins."),
    ("Level, better, worse", "Better or worse is a CRPS three standard errors from the best baseline's, probably so "
     "from two; less is level, or, where two standard errors are more than 5 %, not told apart."),
    ("Too narrow, too wide", "The 90 % band holds what it says from 88 to 92 %. Beyond that, and two standard errors "
     "off, it is slightly too narrow or wide up to 5 points off, far too narrow or wide beyond 10."),
    ("Many comparisons", "Of twenty parts that differ by nothing, about one will be two standard errors off. Single "
     "cells are hints; the whole is the evidence."),
)  # fmt: skip
"""Words and what they mean."""


def judged(results: "Results", panel: Panel) -> list[tuple[str, str]]:
    """What was judged, in pairs of a word and what is to be said of it."""
    task, places = results.task, panel.places
    first, last = (pd.Timestamp(moment) for moment in (places["time"].min(), places["time"].max()))
    series, assets = places["series"].nunique(), places["asset"].nunique()
    said = [
        ("Task", task.name),
        ("Data", ", ".join(task.data) or "not recorded"),
        (
            "Origins",
            f"{counted(len(panel), 'origin')} in {series:,} series of {counted(assets, 'asset')}; the first bars to be "
            f"forecast lie on {counted(len(set(panel.days.tolist())), 'day')}, {first:%Y-%m-%d} to {last:%Y-%m-%d}; at "
            f"most {panel.spans_apart():,} of the forecasts share no moment",
        ),
        ("Forecast", f"{task.horizon} bars after {task.lookback}, scored at steps {_steps(panel, task.steps)}"),
    ]
    markets = [f"{name} ({count:,})" for name, count in places["market"].value_counts().items()]
    timeframes = [f"{name} ({count:,})" for name, count in places["timeframe"].value_counts().items()]
    said += [("Markets", listed(markets, MOST_NAMES)), ("Timeframes", listed(timeframes, MOST_NAMES))]
    if panel.uncommon:
        said.append(("Not compared", f"{counted(panel.uncommon, 'origin')} that not every model has"))
    return said


def left_out(found: Mapping[str, Any]) -> list[str]:
    """What was not judged, and why."""
    said = []
    for reason, what in found.items():
        why = _LEFT_OUT.get(reason, reason.replace("_", " "))
        if isinstance(what, Sequence) and not isinstance(what, str):
            names = [str(name) for name in what]
            said.append(f"{len(names):,}: {why} ({listed(names, MOST_NAMES)})")
        else:
            said.append(f"{what:,}: {why}" if isinstance(what, int) else f"{what}: {why}")
    return said


def known_of(results: "Results") -> list[dict[str, Any]]:
    """A row for every model: what it is and how it was asked."""
    rows = []
    for name, facts in results.facts.items():
        options = dict(facts.get("options") or {})
        place = str(options.pop("place", name))
        told = {key: value for key, value in options.items() if key not in ("baseline", "samples", "calibration")}
        rows.append(
            {
                "model": name,
                "kind": "baseline" if facts.get("baseline") else "model",
                "place": place,
                "cutoff": facts.get("cutoff") or "–",
                "calibration": facts.get("calibration") or "–",
                "samples": facts.get("samples") or "–",
                "failed": facts.get("failed", 0),
                "options": ", ".join(f"{key}={value}" for key, value in told.items() if value is not None) or "–",
            }
        )
    return rows


def command(results: "Results", out: Path) -> str:
    """The command that does it again, from the folder's own task."""
    names: list[str] = []
    shared: dict[str, Any] = {}
    for name, facts in results.facts.items():
        options = facts.get("options") or {}
        place = str(options.get("place", name))
        names.append(name if place == name else f"{name}={place}")
        if not facts.get("baseline"):
            shared |= {key: options[key] for key in ("device", "backend", "precision", "calibration") if key in options}
    words = ["kronos", "evaluate", "run", str(out / "task.yaml"), "--models", ",".join(names)]
    for key, value in shared.items():
        words += [f"--{key}", "none" if value is None else str(value)]
    return shlex.join([*words, "--out", f"{out}-again"])


def _steps(panel: Panel, asked: Sequence[int]) -> str:
    return ", ".join(str(step) for step in panel.steps or asked)
