"""Base versus tuned on bars that nothing was fitted on or chosen by: one table, printed even when tuning hurt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kronos.data import Batch, Windows
from kronos.model import Kronos, KronosTokenizer
from kronos.train.objectives import PredictorObjective

Pair = tuple[Kronos, KronosTokenizer]
Figures = dict[str, NDArray[Any]]
"""Figures of every origin by name, "crps" and "hv20_crps" (of a Gaussian with 20-bar volatility) among them, and what
is no number and says where an origin belongs."""

_SURE = 2.0  # standard errors
_FEWEST = 8  # windows that share no predicted moment, for a verdict


class Judge(Protocol):
    """Scores forecasts of networks; handed in, because this room knows neither forecasts nor their scores."""

    def score(self, pairs: Sequence[Pair], windows: Windows, origins: int, samples: int) -> Figures:
        """Figures of the pairs' pooled paths at so many origins spread over the windows."""

    def difference(self, ours: Figures, theirs: Figures) -> tuple[float, float]:
        """How much greater our CRPS is than theirs at the same origins, and the standard error of that."""


@dataclass(frozen=True)
class Row:
    """One model's means."""

    model: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """What tuning did."""

    rows: Sequence[Row]
    origins: int
    difference: float | None
    """Tuned less base, of CRPS; negative is better."""
    error: float | None
    verdict: str

    def tree(self) -> dict[str, Any]:
        """Ready for JSON."""
        rows = [{"model": row.model, **row.figures} for row in self.rows]
        known = {"difference": self.difference, "standard_error": self.error}
        return {"rows": rows, "origins": self.origins, **known, "verdict": self.verdict}

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Comparison":
        """Read back what `tree` gave."""
        rows = [Row(row["model"], {key: row[key] for key in row if key != "model"}) for row in tree["rows"]]
        return cls(rows, tree["origins"], tree["difference"], tree["standard_error"], tree["verdict"])

    def __str__(self) -> str:
        columns = list(dict.fromkeys(key for row in self.rows for key in row.figures))
        cells = [["", *(column.replace("_", " ") for column in columns)]]
        cells += [[row.model, *(_shown(row.figures.get(column)) for column in columns)] for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        return "\n".join([*lines, self.verdict])


def compare(
    models: Mapping[str, Sequence[Pair]],
    windows: Windows,
    judge: Judge | None,
    *,
    origins: int,
    samples: int,
    batch: int,
) -> Comparison:
    """The models, "base" and "tuned" among them, on a part's windows; a model of several pairs pools their paths."""
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(origins, len(windows))).astype(np.int64))
    nats = {name: [_nats(pair, windows, chosen, batch) for pair in pairs] for name, pairs in models.items()}
    likelihood = {name: {"nll": float(np.mean(values))} for name, values in nats.items()}
    if judge is None:
        rows = [Row(name, figures) for name, figures in likelihood.items()]
        verdict = "compared by the likelihood of their own tokens alone: no score of forecasts was handed in"
        return Comparison(rows, len(chosen), None, None, verdict)
    scored = {name: judge.score(pairs, windows, origins, samples) for name, pairs in models.items()}
    averaged = {name: means(figures) for name, figures in scored.items()}
    count = len(scored["base"]["crps"])
    rows = [Row("hv20", {"crps": averaged["base"]["hv20_crps"]})] if "hv20_crps" in averaged["base"] else []
    for name, figures in averaged.items():
        own = {key: value for key, value in figures.items() if not key.startswith("hv20")}
        rows.append(Row(name, own | likelihood[name]))
    if not all("crps" in averaged[name] for name in ("base", "tuned")):
        verdict = "the forecasts have no score: in the test part the closes do not move"
        return Comparison(rows, count, None, None, verdict)
    difference, error = judge.difference(scored["tuned"], scored["base"])
    verdict = _verdict(rows, difference, error, count, _apart(windows, min(_FEWEST, count)))
    return Comparison(rows, count, difference, error if np.isfinite(error) else None, verdict)


def means(figures: Figures) -> dict[str, float]:
    """The mean of every figure over the origins that have it; without those that none has."""
    numbers = {key: values[np.isfinite(values)] for key, values in figures.items() if values.dtype.kind == "f"}
    return {key: float(values.mean()) for key, values in numbers.items() if len(values)}


def spread_batches(windows: Windows, count: int, batch: int) -> list[Batch]:
    """So many windows spread evenly over all of them, always the same ones."""
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(np.int64))
    return [windows.batch(chosen[first : first + batch]) for first in range(0, len(chosen), batch)]


@torch.no_grad()
def _nats(pair: Pair, windows: Windows, chosen: NDArray[np.int64], batch: int) -> float:
    """Mean cross entropy a token of the bars beyond the look-back."""
    network, tokenizer = pair
    objective = PredictorObjective(network.eval(), tokenizer)
    total = 0.0
    for first in range(0, len(chosen), batch):
        some = windows.batch(chosen[first : first + batch])
        total += objective.loss(network, some)[0].item() * len(some.bars)
    return total / len(chosen)


def _apart(windows: Windows, enough: int) -> int:
    """How many windows there are that predict no moment in common, over all series; counted up to what is enough."""
    rows = [slice(first, first + count) for first, count in zip(windows.firsts, windows.counts, strict=True)]
    known, whole = windows.lookback, windows.length - 1
    times = [one.times for one in windows.series]
    begins = np.concatenate([one[known:][some] for one, some in zip(times, rows, strict=True)])
    ends = np.concatenate([one[whole:][some] for one, some in zip(times, rows, strict=True)])
    found = 0
    while len(ends) and found < enough:  # the one that ends first leaves most room to the others
        found, left = found + 1, begins > ends.min()
        begins, ends = begins[left], ends[left]
    return found


def _verdict(rows: Sequence[Row], difference: float, error: float, count: int, apart: int) -> str:
    figures = {row.model: row.figures["crps"] for row in rows}
    change = f"CRPS {figures['base']:.4f} -> {figures['tuned']:.4f} ({difference / figures['base']:+.1%})"
    if apart < _FEWEST or not np.isfinite(error):
        which = f"{count} windows, of which no more than {apart} share no bar to predict"
        return f"too few windows to say whether tuning helped: {change} over {which}; test on more bars"
    certainty = f"{abs(difference) / max(error, 1e-12):.1f} standard errors over {count} windows"
    if difference == 0:
        what = "tuning changed nothing (the best weights are the base's)"
    elif abs(difference) < _SURE * error:
        what = "no evidence that tuning helped or hurt"
    else:
        what = "tuning helped" if difference < 0 else "tuning hurt: keep the base"
    better = figures["tuned"] < figures["hv20"]
    beside = f"the tuned model is {'better' if better else 'no better'} than 20-bar volatility ({figures['hv20']:.4f})"
    return f"{what}: {change}, {certainty}; {beside}"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
