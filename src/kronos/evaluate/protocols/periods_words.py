"""What an evaluation by market period says, in sentences: losses as plainly as wins, and what it cannot say."""

import math
from collections.abc import Mapping

import pandas as pd

from kronos.evaluate.protocols.periods_run import PeriodResults
from kronos.evaluate.protocols.periods_table import FEWEST, NAMES, REGIME

SURE = 2.0  # standard errors
_WITH = {"volatility": "the volatility of the period", "trend": "its trend", "move": "the size of its trend"}


def settings_line(results: PeriodResults) -> str:
    """What was done, in a line."""
    task, periods = results.task, results.periods
    where = "inside the period" if task.history == "inside" else "with its history from before the period if need be"
    windows = f"{int(periods['windows'].sum())} windows" if task.windows > 1 else "one window each"
    count = f"{len(periods)} period{'s' * (len(periods) > 1)}"
    return (
        f"{periods['series'].nunique()} series, {count}, {windows}: {task.lookback} bars known, "
        f"{task.horizon} predicted, {where}; {task.samples} paths, seed {task.seed}"
    )


def verdict(results: PeriodResults, means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A few sentences on every model: correlation and what chance gives, direction, error, distribution."""
    lines = []
    for model, row in means.items():
        lines += [f"{model}: {_correlation(row)}", f"{model}: {_direction(row)}; {_error(row)}; {_distribution(row)}."]
    return lines


def warnings_(results: PeriodResults, means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a reader must know before believing any of it."""
    lines = []
    chance = [row["correlation_chance"] for row in means.values() if math.isfinite(row["correlation_chance"])]
    if results.task.windows == 1:
        size = f" (here ±{max(chance):.2f}, one standard deviation)" if chance else ""
        lines.append(
            "One window a period: the correlation of two single paths says next to nothing. Paths wander, and two that "
            f"know nothing of each other correlate strongly, either way, by chance{size}. A good month and a bad one "
            "in this table are no sign that the model works in one regime and not in another; take more windows "
            "(--windows 5) and look at the spread."
        )
    elif (shared := float(results.periods["apart"].sum())) < 0.99 * float(results.periods["windows"].sum()):
        lines.append(
            f"Windows of a period share predicted bars: {int(results.periods['windows'].sum())} windows are worth "
            f"about {shared:.0f} that do not. ± in a period is the spread of its windows (one standard deviation), "
            "no error of the mean."
        )
    else:
        lines.append("± in a period is the spread of its windows (one standard deviation), no error of the mean.")
    return lines + _trained_on(results) + _short_sight(results)


def relation_lines(related: pd.DataFrame) -> list[str]:
    """How performance varies with the regime, as far as it can be told from chance."""
    if related.empty:
        return [f"Fewer than {FEWEST} periods: nothing can be said on how performance varies with the market's regime."]
    clear = related[related["correlation"].abs() > related["by_chance"]]
    expected = 0.05 * len(related)
    lines = [
        f"Rank correlations of a figure with the regime: {len(related)}; beyond what chance exceeds one time in twenty "
        f"lie {len(clear)}, and about {expected:.1f} would be by chance alone."
    ]
    for row in clear.to_dict("records"):
        way = "rises" if row["correlation"] > 0 else "falls"
        name, part = NAMES[str(row["figure"])], _WITH[str(row["regime"])]
        lines.append(
            f"{row['model']}: {name} {way} with {part} ({row['correlation']:+.2f} over {row['periods']} periods)."
        )
    assert set(_WITH) == set(REGIME)
    return lines


def _correlation(row: Mapping[str, float]) -> str:
    mean, error, chance = row["close_correlation"], row["close_correlation_se"], row["correlation_chance"]
    if not math.isfinite(mean):
        return "its mean path stands still, so there is no close correlation to speak of."
    text = f"close correlation {mean:+.2f}{_plus_minus(error)} {_over(row['windows'])}"
    if row["windows"] > 1:
        text += f", single ones from {row['close_correlation_least']:+.2f} to {row['close_correlation_most']:+.2f}"
    if math.isfinite(chance):
        text += f"; chance alone gives a single window ±{chance:.2f}"
    if not math.isfinite(error):
        return text + "; too few windows to say whether it is more than chance."
    if abs(mean) <= SURE * error:
        return text + "; no evidence that the path's shape is foreseen."
    return text + ("; the path's shape is foreseen to some extent." if mean > 0 else "; it goes against the market.")


def _direction(row: Mapping[str, float]) -> str:
    parts = []
    for name, what in (("direction_steps", "per step"), ("direction_bars", "bar to bar"), ("direction", "at the end")):
        parts.append(f"{100 * row[name]:.0f} %{_plus_minus(100 * row[f'{name}_se'], '.0f')} {what}")
    if not math.isfinite(row["direction_steps_se"]):
        return f"direction {', '.join(parts)}"
    sure = [
        row[name] - 0.5 for name in ("direction_steps", "direction") if abs(row[name] - 0.5) > SURE * row[f"{name}_se"]
    ]
    judged = "better than a coin" if sure and min(sure) > 0 else "worse than a coin" if sure else "no edge over a coin"
    return f"direction {', '.join(parts)}: {judged}"


def _error(row: Mapping[str, float]) -> str:
    ratio = _beside_one(row["mape_ratio"], row["mape_ratio_se"])
    return f"MAPE {row['mape']:.2f} %, of no change {row['mape_still']:.2f} %: {ratio}"


def _distribution(row: Mapping[str, float]) -> str:
    cover, error = row["cover90"], row["cover90_se"]
    text = f"CRPS beside hv20's: {_beside_one(row['crps_ratio'], row['crps_ratio_se'])}"
    text += f"; the 90 % band held {100 * cover:.0f} %{_plus_minus(100 * error, '.0f')}"
    if not math.isfinite(error) or abs(cover - 0.9) <= SURE * error:
        return text
    return text + (", overconfident" if cover < 0.9 else ", wider than it need be")


def _beside_one(ratio: float, error: float) -> str:
    """A ratio with its error, and whether that is more or less than one."""
    if not math.isfinite(ratio):
        return "not comparable"
    if not math.isfinite(error):
        return f"{ratio:.2f} times, of too few windows to judge"
    clear = abs(ratio - 1) > SURE * error
    judged = "no clear difference" if not clear else "better" if ratio < 1 else "worse"
    return f"{judged} ({ratio:.2f}{_plus_minus(error)})"


def _over(windows: float) -> str:
    return "in one window" if windows == 1 else f"on average over {windows:.0f} windows"


def _plus_minus(error: float, form: str = ".2f") -> str:
    return f" ± {format(error, form)}" if math.isfinite(error) else ""


def _trained_on(results: PeriodResults) -> list[str]:
    lines = []
    for model, mine in results.scores.groupby("model", sort=False):
        seen, unknown = mine["before_cutoff"].eq(True).sum(), mine["before_cutoff"].isna().sum()
        if seen:
            lines.append(
                f"{model}: {seen} of {len(mine)} windows lie before its cut-off; it may have been trained on them, and "
                "they flatter it."
            )
        if unknown:
            lines.append(f"{model}: does not say up to when it was trained; it may have seen these bars.")
    return lines


def _short_sight(results: PeriodResults) -> list[str]:
    lines = []
    for model, mine in results.scores.groupby("model", sort=False):
        least = int(mine["read"].min())
        if least < results.task.lookback:
            lines.append(
                f"{model}: read the last {least} of {results.task.lookback} known bars, so that they and the horizon "
                "fit into its context (--read N with --overflow exact or slide reads more)."
            )
    return lines
