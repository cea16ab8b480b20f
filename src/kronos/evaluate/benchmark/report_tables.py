"""How the tables of a benchmark look on its page: which columns a reader sees, and how each number is written."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from kronos.evaluate.benchmark.panel import LEVELS, Row, records
from kronos.evaluate.benchmark.report_html import Column, Html, folded, joined, safe, table, tag
from kronos.evaluate.benchmark.wording import dash, digits_for, percent, rounded, significant

SLICES = {
    "market": "Market", "timeframe": "Timeframe", "market x timeframe": "Market and timeframe",
    "regime": "Volatility regime", "year": "Year", "cut-off": "Before and after the cut-off",
}  # fmt: skip
"""What the origins are cut by, and what that is called."""


def leader_tables(leaderboard: pd.DataFrame) -> Html:
    """The leaderboard, in parts that fit on a page."""
    rows = records(leaderboard)
    return joined(
        (
            table(rows, (*_WHO, *_DISTRIBUTION), "The distribution: CRPS and whole paths, lower is better."),
            table(rows, (_NAME, *_BANDS), "The bands: what share of truths they hold, and how wide the 90 % band is."),
            table(rows, (_NAME, *_DIRECTION), "Direction, and the mean path against the true one."),
            table(rows, (_NAME, *_VOLATILITY), "Volatility of the whole horizon, said against what came."),
        )
    )


def step_table(steps: pd.DataFrame) -> Html:
    """Every step of the horizon."""
    columns = (_text("step", "step"), _NAME, *_RATIOS, *_bands(), _number("width90", "90 % width", "in u"))
    return table(_once(records(steps), "step"), (*columns, _share("direction", "right direction")))


def slice_tables(slices: pd.DataFrame) -> Html:
    """The parts of the whole, each kind folded away."""
    parts = []
    for name, title in SLICES.items():
        rows = _once(records(slices[slices["slice"] == name]), "group")
        if rows:
            columns = (_text("group", title), _NAME, _count("origins"), _count("days"), *_RATIOS)
            parts.append(folded(title, table(rows, (*columns, *_SLICE_BANDS))))
    return joined(parts)


def comparison_table(comparisons: pd.DataFrame) -> Html:
    """Every model beside every baseline."""
    columns = (
        _NAME,
        _text("against", "beside"),
        _count("origins"),
        _number("difference", "CRPS difference", "below 0: the model is better"),
        Column("p", lambda row: _p(row["p"]), "of a difference so large where there is none"),
        _number("ratio", "CRPS ratio", "below 1: the model is better", least=3),
        _number("calibration", "calibration", "how much further its coverage is off; below 0 is better", scale=100),
        _number("qlike", "QLIKE difference", "volatility; below 0 is better"),
    )
    return table(records(comparisons), columns)


def cross_table(found: pd.DataFrame) -> Html:
    """Correlations across assets."""
    columns = (
        _text("timeframe", "timeframe"),
        _NAME,
        _count("days"),
        Column("assets a day", lambda row: f"{row['assets']:.1f}"),
        _number("ic", "IC", least=3),
        _number("rank_ic", "RankIC", least=3),
        Column("ICIR", lambda row: _plain(row["icir"], 2)),
        Column("t", lambda row: _plain(row["t"], 2), "Newey and West's"),
        Column("p", lambda row: _p(row["p"])),
    )
    return table(_once(records(found), "timeframe"), columns)


def speed_table(leaderboard: pd.DataFrame) -> Html:
    """Seconds and dollars."""
    columns = (
        _NAME,
        Column("seconds a forecast", lambda row: significant(row["seconds"])),
        Column("paths", lambda row: "–" if pd.isna(row["samples"]) else f"{int(row['samples']):,}"),
        Column("cores", lambda row: f"{int(row['cores'])}", "that it had to itself"),
        Column("dollars a 1,000 forecasts", lambda row: significant(row["cost_per_1000"], 2)),
    )
    return table(records(leaderboard), columns)


def _once(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows, without the name of a group where the row above bears it."""
    above = [None, *(row[name] for row in rows)]
    return [{**row, name: ""} if row[name] == before else row for row, before in zip(rows, above, strict=False)]


# Columns --------------------------------------------------------------------------------------------------------------


def _number(name: str, heading: str, hint: str = "", *, least: int = 0, scale: float = 1.0) -> Column:
    """A number and, smaller, its error."""
    return Column(heading, lambda row: _cell(scale * row[name], scale * row[f"{name}_se"], least), hint)


def _share(name: str, heading: str, hint: str = "") -> Column:
    """A share in per cent and, smaller, its error."""
    return Column(heading, lambda row: _per_cent(row[name], row[f"{name}_se"]), hint)


def _count(name: str) -> Column:
    return Column(name, lambda row: f"{int(row[name]):,}")


def _text(name: str, heading: str) -> Column:
    return Column(heading, lambda row: str(row[name]), text=True)


def _cell(value: float, error: float, least: int) -> str:
    if not math.isfinite(value) or not math.isfinite(error):
        return dash(value) if not math.isfinite(value) else significant(value)
    digits = max(digits_for(error), least)
    return Html(f"{rounded(value, digits)} <small>± {error:.{digits}f}</small>")


def _per_cent(value: float, error: float) -> str:
    shown, _, spread = percent(value, error).partition(" ± ")
    return Html(f"{safe(shown)} <small>± {safe(spread)}</small>") if spread else shown


def _interval(low: str, high: str, digits: int = 3) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if not (math.isfinite(row[low]) and math.isfinite(row[high])):
            return "–"
        return f"{row[low]:.{digits}f} to {row[high]:.{digits}f}"

    return cell


def _plain(value: float, digits: int) -> str:
    return rounded(value, digits) if math.isfinite(value) else dash(value)


def _p(value: float) -> str:
    return dash(value) if not math.isfinite(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _bands(levels: Sequence[int] = LEVELS) -> tuple[Column, ...]:
    return tuple(_share(f"cover{level}", f"{level} % band") for level in levels)


def _name(row: Row) -> str:
    own = row.get("kind") == "model"
    return tag("b", str(row["model"]), kind="model") if own else str(row["model"])


_NAME = Column("model", _name, text=True)
_RATIOS = (
    _number("crps", "CRPS, u", least=3),
    _number("ratio_best", "of the best baseline's", "CRPS over its own; for this one over the next one's", least=3),
    _number("ratio_hv20", "of hv20's", "CRPS over that of a Gaussian with 20-bar volatility", least=3),
)  # fmt: skip
_WHO = (_NAME, Column("rival", lambda row: str(row["rival"] or "–"), "whom it is held against", text=True))
_DISTRIBUTION = (
    _RATIOS[0],
    _RATIOS[1],
    Column("95 % interval", _interval("ratio_best_low", "ratio_best_high"), "of that ratio: block bootstrap of days"),
    _RATIOS[2],
    _number("energy", "energy", "energy score of whole paths", least=2),
    _number("variogram", "variogram", "variogram score of whole paths", least=4),
)  # fmt: skip
_BANDS = (
    *_bands(),
    _number("width90", "90 % width, u"),
    Column("PIT off", lambda row: _plain(row["pit_ks"], 3), "largest gap to a uniform law (Kolmogorov and Smirnov)"),
    Column("by chance", lambda row: _plain(row["pit_ks_chance"], 3), "what a calibrated one stays below, 95 in 100"),
)
_DIRECTION = (
    _share("direction", "right direction", "at the last step"),
    Column("p", lambda row: _p(row["direction_p"]), "of a coin's being right so often"),
    _share("over_always", "over always the same", "beyond always saying up, or always down"),
    _number("brier", "Brier, up", "0.25 is what an ignorant 50 % gets; lower is better", least=3),
    _number("brier_touch", "Brier, touch", least=3),
    _number("mae", "MAE, %", least=2),
    _number("mape", "MAPE, %", least=2),
    _number("close_correlation", "correlation", "of mean closes with true ones, along each path"),
    _number("rank_correlation", "rank correlation"),
)
_VOLATILITY = (
    Column("R²", lambda row: _plain(row["volatility_r2"], 3), "of levels, over all origins"),
    _number("volatility_mae", "MAE, u", least=3),
    _number("qlike", "QLIKE", "lower is better", least=3),
)
_SLICE_BANDS = (*_bands((50, 90)), _number("width90", "90 % width, u"), _share("direction", "right direction"))
