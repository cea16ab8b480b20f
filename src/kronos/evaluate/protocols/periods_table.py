"""Tables of an evaluation by market period: what each period gave, what all gave together, and what depends on what.

A mean over windows comes with its spread (how far single windows lie apart); a mean over everything comes with a
standard error that knows that neighbouring windows are not independent.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kronos.evaluate.metrics.points import rank_correlation
from kronos.evaluate.metrics.uncertainty import standard_error
from kronos.evaluate.protocols.periods_run import OWN, SCORED, PeriodResults

FIGURES = (*SCORED, *OWN)

RELATED = ("close_correlation", "direction_steps", "mape_ratio", "crps_ratio", "cover90")
"""What is set beside the market's regime."""

REGIME = ("volatility", "trend", "move")
"""What a regime is: volatility of a bar, trend with its sign, and how large it is either way."""

FEWEST = 8  # periods that a relation is spoken of
FEWEST_APART = 5  # windows that share no bar, from which on an error of their mean means something


@dataclass(frozen=True)
class Table:
    """Rows of text below their heads, as text for a terminal, a README, or a page."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    """How many of the first columns hold words; numbers are set to the right."""

    def text(self) -> str:
        """Aligned columns."""
        lines = [self.heads, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.heads))]

        def set_(line: Sequence[str]) -> Iterator[str]:
            for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
                yield cell.ljust(width) if i < self.words else cell.rjust(width)

        return "\n".join("  ".join(set_(line)).rstrip() for line in lines)

    def markdown(self) -> str:
        """A table of GitHub's Markdown."""
        marks = ["---" if i < self.words else "---:" for i in range(len(self.heads))]
        lines = [[cell.replace("|", "\\|") for cell in line] for line in (self.heads, *self.rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], marks, *lines[1:]))

    def html(self) -> str:
        """A table of a page, everything in it escaped."""

        def row(line: Sequence[str], tag: str) -> str:
            cells = (
                f"<{tag}{'' if i < self.words else ' class=n'}>{html.escape(cell)}</{tag}>"
                for i, cell in enumerate(line)
            )
            return f"<tr>{''.join(cells)}</tr>"

        body = "\n".join(row(line, "td") for line in self.rows)
        return f"<table>\n<thead>{row(self.heads, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def by_period(results: PeriodResults) -> pd.DataFrame:
    """A row for every period and model: the market, the means of all figures, the spread over windows, the ratios."""
    rows = []
    for place in results.periods.to_dict("records"):
        mine = (results.scores["series"] == place["series"]) & (results.scores["period"] == place["period"])
        for model in results.models:
            windows = results.scores[mine & (results.scores["model"] == model)]
            figures = _means(windows) | _spreads(windows)
            rows.append({**{str(key): value for key, value in place.items()}, "model": model, **figures})
    return pd.DataFrame(rows)


def overall(results: PeriodResults) -> dict[str, dict[str, float]]:
    """Model -> means over all windows with standard errors (`NAME_se`), ratios with theirs, spreads, counts.

    Too few windows have no error.
    """
    found = {}
    for model in results.models:
        mine = results.scores[results.scores["model"] == model]
        figures: dict[str, float] = {"windows": float(len(mine)), "periods": float(len(results.periods))}
        figures |= {"apart": float(results.periods["apart"].sum()), **_means(mine), **_spreads(mine)}
        enough = figures["apart"] >= FEWEST_APART
        for name in FIGURES:
            figures[f"{name}_se"] = _error(mine[name], mine) if enough else math.nan
        for ratio, above, below in (("crps_ratio", "crps", "hv20_crps"), ("mape_ratio", "mape", "mape_still")):
            both = mine[np.isfinite(mine[above]) & np.isfinite(mine[below])]
            # what a ratio of means owes to each window: its numerator less what the ratio would have it be
            owed = (both[above] - figures[ratio] * both[below]) / both[below].mean()
            figures[f"{ratio}_se"] = _error(owed, both) if enough else math.nan
        lows = mine["close_correlation"].agg(["min", "max"])
        figures |= {"close_correlation_least": float(lows["min"]), "close_correlation_most": float(lows["max"])}
        figures["correlation_chance"] = _root_mean_square(mine["correlation_chance"])
        found[model] = figures
    return found


def relations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of each figure with each part of the regime over the periods, by model.

    `by_chance` is what its size exceeds one time in twenty where nothing depends on anything.
    """
    rows = []
    for model, mine in table.groupby("model", sort=False):
        for figure in RELATED:
            for part in REGIME:
                values = mine["trend"].abs() if part == "move" else mine[part]
                there = np.isfinite(values) & np.isfinite(mine[figure])
                count = int(there.sum())
                if count < FEWEST:
                    continue
                found = float(rank_correlation(mine[figure][there].to_numpy(), values[there].to_numpy()))
                row = {"model": model, "figure": figure, "regime": part, "periods": count, "correlation": found}
                rows.append({**row, "by_chance": 1.96 / math.sqrt(count - 1)})
    return pd.DataFrame(rows, columns=["model", "figure", "regime", "periods", "correlation", "by_chance"])


def period_table(results: PeriodResults, table: pd.DataFrame, means: Mapping[str, Mapping[str, float]]) -> Table:
    """The table by period, several models below each other in each, and all periods at the end."""
    spread = bool((results.periods["windows"] > 1).any())
    several = results.periods["series"].nunique() > 1
    heads = ["period", "market", "return", "vol/bar", "trend", "n", "model", "close corr"]
    heads += ["dir. steps", "dir. bars", "dir. end", "MAPE %", "no change %", "CRPS/hv20", "cover 90"]
    rows = []
    for (series, period), mine in table.groupby(["series", "period"], sort=False):
        for i, row in enumerate(mine.to_dict("records")):
            label = f"{series} {period}" if several else str(period)
            market = [label, row["market"], f"{math.expm1(row['log_return']):+.1%}", f"{row['volatility']:.2%}"]
            market += [f"{row['trend']:+.1f}", str(row["windows"])]
            rows.append([*(market if i == 0 else [""] * len(market)), *_cells(row, row, "_spread" if spread else "")])
    for model, found in means.items():
        market = ["all", "mean ± s.e.", "", "", "", f"{found['windows']:.0f}"]
        rows.append([*market, *_cells({"model": model, **found}, found, "_se")])
    return Table(heads, rows, words=2)


def relation_table(related: pd.DataFrame) -> Table:
    """Which figure goes with which part of the regime, a row for each model and figure."""
    heads = ["model", "figure", "with volatility", "with trend", "with |trend|", "periods", "chance"]
    rows = []
    for (model, figure), mine in related.groupby(["model", "figure"], sort=False):
        parts = dict(zip(mine["regime"], mine["correlation"], strict=True))
        cells = [f"{parts[part]:+.2f}" if math.isfinite(parts.get(part, math.nan)) else "-" for part in REGIME]
        rows.append(
            [str(model), NAMES[str(figure)], *cells, str(mine["periods"].min()), f"±{mine['by_chance'].max():.2f}"]
        )
    return Table(heads, rows, words=2)


NAMES = {
    "close_correlation": "close correlation",
    "direction_steps": "direction, steps",
    "mape_ratio": "MAPE / no change",
    "crps_ratio": "CRPS / hv20",
    "cover90": "coverage of 90 %",
}
"""What tables and pictures call a figure."""


def _cells(row: Mapping[Any, Any], errors: Mapping[Any, Any], ending: str) -> list[str]:
    """A model's cells; with an `ending`, ± the figure of that name."""

    def cell(name: str, form: str) -> str:
        if not math.isfinite(row[name]):
            return "-"
        error = errors.get(f"{name}{ending}", math.nan) if ending else math.nan
        return format(row[name], form) + (f" ±{format(error, form.lstrip('+'))}" if math.isfinite(error) else "")

    shown = [cell("close_correlation", "+.2f")]
    shown += [cell(name, ".2f") for name in ("direction_steps", "direction_bars", "direction", "mape")]
    shown += [cell("mape_still", ".2f") if ending != "_se" else f"{row['mape_still']:.2f}"]
    return [str(row["model"]), *shown, cell("crps_ratio", ".2f"), cell("cover90", ".2f")]


def _means(windows: pd.DataFrame) -> dict[str, float]:
    found = {name: _mean(windows[name]) for name in FIGURES}
    found["crps_ratio"] = _ratio(windows, "crps", "hv20_crps")
    found["mape_ratio"] = _ratio(windows, "mape", "mape_still")
    return found


def _spreads(windows: pd.DataFrame) -> dict[str, float]:
    """How far single windows lie apart: the standard deviation, where there are at least two."""
    return {f"{name}_spread": float(windows[name].std(ddof=1)) if len(windows) > 1 else math.nan for name in FIGURES}


def _mean(values: "pd.Series[float]") -> float:
    return float(values.mean()) if bool(values.notna().any()) else math.nan


def _ratio(windows: pd.DataFrame, above: str, below: str) -> float:
    """Of means and not the mean of ratios: one calm window would drown all others."""
    both = windows[np.isfinite(windows[above]) & np.isfinite(windows[below])]
    total = float(both[below].sum())
    return float(both[above].sum()) / total if total > 0 else math.nan


def _root_mean_square(values: "pd.Series[float]") -> float:
    return math.sqrt(_mean(values**2)) if bool(values.notna().any()) else math.nan


def _error(values: "pd.Series[float]", rows: pd.DataFrame) -> float:
    there = np.isfinite(values)
    if not there.any():
        return math.nan
    return standard_error(values[there], rows["asset"][there], rows["time"][there].to_numpy().astype(np.int64))
