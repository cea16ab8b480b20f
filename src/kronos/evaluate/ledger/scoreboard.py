"""The scoreboard: how good were the forecasts whose bars have come, beside what costs nothing to say.

CRPS is that of cumulative log returns in units of the look-back's volatility (`scoring`), and a ratio to a random walk
or to 20-bar volatility (`yardsticks`) is one of means over the same forecasts: below 1 is better than they are. Every
mean has a standard error that lets forecasts close in time, or of one asset, depend on each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.data.sets.series import plain_symbol
from kronos.evaluate.ledger.sums import column, mean, ratio
from kronos.evaluate.metrics.uncertainty import standard_error
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

MEANS = ("crps", "cover50", "cover90", "brier", "direction")
RATIOS = {"to_walk": "walk_crps", "to_hv20": "hv20_crps"}
COLUMNS = (
    *("model", "market", "symbol", "timeframe", "forecasts", "scored", "waiting"),
    *(name for figure in (*MEANS, *RATIOS) for name in (figure, f"{figure}_se")),
    *("walk_crps", "hv20_crps", "walk_cover90", "hv20_cover90", "first", "last"),
)
ALL = "all"
"""Stands in the place of a symbol where all series of a model are taken together."""

BINS = 10
_DIGEST = 8  # signs of one that tell models of a name apart


@dataclass(frozen=True, eq=False)
class Scoreboard:
    """Forecasts of a ledger by model and series; `trials` has a row for each, with its figures if its bars have come.

    `left_out` says how many were written down after the fact and are not among them.
    """

    trials: pd.DataFrame
    left_out: int = 0

    @cached_property
    def labels(self) -> "pd.Series[str]":
        """What each forecast's model is called: its name, its calibration, and its weights where names are shared."""
        rows = self.trials
        names = [_label(*texts) for texts in rows[["model", "calibration"]].itertuples(index=False)]
        labels = pd.Series(names, index=rows.index, dtype=object)
        versions = rows["weights"].where(rows["weights"] != "", rows["revision"])
        several = versions.groupby(labels).transform("nunique") > 1 if len(rows) else labels == ""
        return labels.where(~several, labels + "@" + versions.str[:_DIGEST])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for every model over all its series, and, where it has several, one for each of them."""
        rows: list[dict[str, Any]] = []
        for label, some in self.trials.groupby(self.labels, sort=True):
            groups = list(some.groupby(["market", "symbol", "timeframe"], sort=True))
            if len(groups) > 1:
                rows.append(_row(str(label), ("", ALL, ""), some))
            rows += [_row(str(label), place, group) for place, group in groups]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def scored(self) -> pd.DataFrame:
        """The forecasts whose bars have come, with `label` and `asset`."""
        rows = self.trials.assign(label=self.labels, asset=[plain_symbol(one) for one in self.trials["symbol"]])
        return rows[rows["version"] > 0]

    def reliability(self, model: str, bins: int = BINS) -> pd.DataFrame:
        """Of a model's P(up), by how high it was said: `said`, how often it `rose`, `rose_se`, and the `count`.

        All steps that are scored are taken together; those of one forecast are one in the error.
        """
        rows = self.scored()
        said, rose, assets, times = _ups(rows[rows["label"] == model])
        which = np.minimum((said * bins).astype(np.int64), bins - 1)
        found = [
            {
                "said": float(said[inside].mean()),
                "rose": float(rose[inside].mean()),
                "rose_se": standard_error(rose[inside], assets[inside], times[inside]),
                "count": int(inside.sum()),
            }
            for inside in (which == number for number in range(bins))
            if inside.any()
        ]
        return pd.DataFrame(found, columns=["said", "rose", "rose_se", "count"])

    def tree(self) -> dict[str, Any]:
        """Plain values, for JSON: null for what is no number."""
        models = sorted(set(self.labels))
        return {
            "rows": [{name: _plain(value) for name, value in row.items()} for row in self.frame.to_dict("records")],
            "reliability": {
                model: [{k: _plain(v) for k, v in row.items()} for row in self.reliability(model).to_dict("records")]
                for model in models
            },
            "backfilled_left_out": self.left_out,
        }

    def text(self) -> str:
        """The table, and what should be known beside it."""
        heads = ["model", "series", "said", "scored", "waiting", "CRPS", "to walk", "to hv20"]
        heads += ["in 50 %", "in 90 %", "Brier", "direction"]
        rows = [heads]
        for row in self.frame.to_dict("records"):
            series = " ".join(text for text in (row["market"], row["symbol"], row["timeframe"]) if text)
            cells = [f"{row[name]:,}" for name in ("forecasts", "scored", "waiting")]
            names = ("crps", "to_walk", "to_hv20", "cover50", "cover90", "brier", "direction")
            rows.append([row["model"], series, *cells, *(_sure(row[name], row[f"{name}_se"]) for name in names)])
        lines = _aligned(rows)
        lines.append("± is a standard error; to walk, to hv20: CRPS by that of a random walk, of 20-bar volatility;")
        lines.append("below 1 is better. Who knows nothing has a Brier score of .25 and a direction of .5.")
        if self.left_out:
            lines.append(f"{self.left_out:,} forecasts that were written down after their first bar are left out.")
        return "\n".join(lines)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Draw CRPS beside 20-bar volatility and coverage over time, and how reliable P(up) was."""
        from kronos.bars.plot import picture_format
        from kronos.evaluate.ledger.picture import draw

        target = None if path is None else Path(path)
        kind = "" if target is None else picture_format(target)
        figure = draw(self.scored(), {label: self.reliability(label) for label in sorted(set(self.labels))})
        if target is not None:
            with replacing(target) as temporary:
                figure.savefig(temporary, format=kind)
        return figure


def _row(label: str, place: Sequence[Any], some: pd.DataFrame) -> dict[str, Any]:
    scored = some[some["version"] > 0]
    market, symbol, timeframe = place
    row: dict[str, Any] = {
        "model": label,
        "market": market,
        "symbol": symbol,
        "timeframe": timeframe,
        "forecasts": len(some),
        "scored": len(scored),
        "waiting": len(some) - len(scored),
        "first": some["origin"].min(),
        "last": some["origin"].max(),
    }
    where = np.array([plain_symbol(one) for one in scored["symbol"]]), scored["first"].to_numpy()
    for name in (*MEANS, "walk_crps", "hv20_crps", "walk_cover90", "hv20_cover90"):
        row[name], row[f"{name}_se"] = mean(column(scored, name), *where)
    for name, against in RATIOS.items():
        row[name], row[f"{name}_se"] = ratio(column(scored, "crps"), column(scored, against), *where)
    return row


def _ups(rows: pd.DataFrame) -> tuple[Array, Array, NDArray[Any], NDArray[Any]]:
    """P(up) as it was said and whether it rose, at all steps of all forecasts, with their assets and times."""
    steps = sorted(name.removeprefix("up_") for name in map(str, rows.columns) if name.startswith("up_"))
    said = np.concatenate([column(rows, f"up_{step}") for step in steps] or [np.empty(0)])
    rose = np.concatenate([column(rows, f"rose_{step}") for step in steps] or [np.empty(0)])
    assets, times = (np.tile(rows[name].to_numpy(), len(steps)) for name in ("asset", "first"))
    there = np.isfinite(said) & np.isfinite(rose)
    return said[there], rose[there], assets[: len(said)][there], times[: len(said)][there]


def _label(model: str, calibration: str) -> str:
    return f"{model} + {calibration[:_DIGEST]}" if calibration else model


def _sure(value: float, error: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.3f}" + (f" ±{error:.3f}" if math.isfinite(error) else "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return None if value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)) else value
