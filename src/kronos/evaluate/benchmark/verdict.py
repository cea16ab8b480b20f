"""What a benchmark says, in plain sentences: a loss as plainly as a win, and nothing where there is too little to tell.

The rules, for all models alike:

- Fewer than 30 origins, or fewer than 8 predictions that share no moment: too little to tell.
- CRPS as a share of the best baseline's (for this one itself: of the next): a difference of 3 standard errors is
  "better" or "worse", of 2 "probably" so, of less "level"; but where 2 standard errors are more than .05 of it, less
  says nothing either way.
- Direction: no evidence of an edge where a coin would be right so often with p of .05 or more; below .01 it is
  evidence, between them weak evidence. It is an edge only where it also beats always saying up (or always down) by 2
  standard errors: in a market that rose, whoever says "up" is right more often than a coin.
- The 90 % band holds what it says from .88 to .92. Outside that, and 2 standard errors from .90, it is slightly too
  narrow or wide up to .05 off, far too narrow or wide beyond .10.
- Better or worse calibrated than a baseline: its coverage of the 50, 80, 90 and 95 % bands is off by .005 less or more,
  and that is 2 standard errors.
- Places (market x timeframe) are named from 100 origins on: where CRPS is 3 standard errors from the best baseline's,
  and where the band's coverage is outside .85 to .95 by 2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kronos.evaluate.benchmark.panel import Row, records
from kronos.evaluate.benchmark.wording import counted, listed, percent, probability, significant, within

FEWEST_ORIGINS, FEWEST_SPANS, FEWEST_IN_PLACE = 30, 8, 100
SURE, VERY_SURE, TOO_UNSURE = 2.0, 3.0, 0.05
WEAK, STRONG = 0.05, 0.01
HOLDS, SLIGHTLY, FAR, PLACE_HOLDS = 0.02, 0.05, 0.10, 0.05
LEAST_CALIBRATION = 0.005

_ROUNDING = 1e-9  # .92 less .90 is a little more than .02


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one model: the words that the rules give, and whole sentences."""

    model: str
    enough: bool
    crps: str
    direction: str
    band: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, the name first."""
        return f"{self.model}: {' '.join(self.sentences)}"

    def tree(self) -> dict[str, Any]:
        """Ready for JSON."""
        words = {"enough": self.enough, "crps": self.crps, "direction": self.direction, "band": self.band}
        return {"model": self.model, **words, "sentences": list(self.sentences)}


def verdicts(tables: Mapping[str, pd.DataFrame]) -> dict[str, Verdict]:
    """A verdict for every model of the tables (`tables.all_tables`), in their order."""
    slices = tables["slices"]
    rows, pairs = records(tables["leaderboard"]), records(tables["comparisons"])
    places = records(slices[slices["slice"] == "market x timeframe"])
    return {
        str(row["model"]): _verdict(
            row,
            [pair for pair in pairs if pair["model"] == row["model"]],
            [place for place in places if place["model"] == row["model"]],
        )
        for row in rows
    }


def headline(found: Mapping[str, Verdict], tables: Mapping[str, pd.DataFrame], failed: Sequence[str] = ()) -> list[str]:
    """What comes before all else: whether the figures can be believed, what was judged, and who beat the baselines.

    `failed` are the sentences of tripwires that did not hold.
    """
    table = tables["leaderboard"]
    own = [str(name) for name in table.loc[table["kind"] == "model", "model"]]
    others = [str(name) for name in table.loc[table["kind"] == "baseline", "model"]]
    said = [f"Do not believe these figures: a tripwire did not hold. {sentence}" for sentence in failed]
    first = table.iloc[0]
    said.append(
        f"{counted(len(own), 'model')} and {counted(len(others), 'baseline')} at the same "
        f"{counted(int(first['origins']), 'origin')} on {counted(int(first['days']), 'day')}."
    )
    if not others:
        return [*said, "No baseline was judged beside them, so nothing says whether these scores are good."]
    if not own:
        return [*said, f"There is no model to judge; the best baseline is {others[0]}."]
    if not found[own[0]].enough:
        return [*said, "That is too little to tell who is better."]
    wins = [name for name in own if found[name].crps in ("better", "probably better")]
    losses = [name for name in own if found[name].crps in ("worse", "probably worse")]
    rest = [name for name in own if name not in (*wins, *losses)]
    if wins:
        said.append(f"{listed(wins)}: better than the best baseline, {others[0]}, by CRPS.")
    else:
        said.append(f"No model beats the best baseline, {others[0]}, by CRPS.")
    said += [f"Not told apart from it: {listed(rest)}."] if rest else []
    said += [f"Worse than it: {listed(losses)}."] if losses else []
    return said


# Rules ----------------------------------------------------------------------------------------------------------------


def is_enough(origins: int, spans: int) -> bool:
    """Whether there is enough to tell anything from."""
    return origins >= FEWEST_ORIGINS and spans >= FEWEST_SPANS


def crps_word(ratio: float, error: float) -> str:
    """ "better", "probably better", "level", "not told apart", "probably worse", "worse", or "not known"."""
    if not (math.isfinite(ratio) and math.isfinite(error)):
        return "not known"
    off = abs(ratio - 1.0) + _ROUNDING
    which = "better" if ratio < 1.0 else "worse"
    if error > 0 and off < SURE * error:
        return "level" if SURE * error <= TOO_UNSURE else "not told apart"
    if off <= 2 * _ROUNDING:
        return "level"
    return which if off >= VERY_SURE * error else f"probably {which}"


def direction_word(share: float, p: float, over: float, over_error: float) -> str:
    """ "none", "weak edge", "edge", "no more than always the same", "weakly wrong", "wrong", or "not known".

    `over` is the share of right directions less that of always saying the same.
    """
    if not (math.isfinite(share) and math.isfinite(p)):
        return "not known"
    if p >= WEAK:
        return "none"
    if share < 0.5:
        return "wrong" if p < STRONG else "weakly wrong"
    if not over >= SURE * over_error:
        return "no more than always the same"
    return "edge" if p < STRONG else "weak edge"


def band_word(covered: float, error: float) -> str:
    """ "holds", "not told apart" from .90, or "slightly too narrow", "too narrow", "far too narrow", and so of wide."""
    if not math.isfinite(covered):
        return "not known"
    off = abs(covered - 0.9) - _ROUNDING
    if off <= HOLDS:
        return "holds"
    if not (math.isfinite(error) and off + 2 * _ROUNDING >= SURE * error):
        return "not told apart"
    how = "slightly too" if off <= SLIGHTLY else "too" if off <= FAR else "far too"
    return f"{how} {'narrow' if covered < 0.9 else 'wide'}"


def calibration_word(difference: float, error: float) -> str:
    """ "better", "worse" or "alike", from how much further off its coverage is than another's."""
    if not (math.isfinite(difference) and math.isfinite(error)) or abs(difference) + _ROUNDING < LEAST_CALIBRATION:
        return "alike"
    if abs(difference) < SURE * error:
        return "alike"
    return "better" if difference < 0 else "worse"


# Sentences ------------------------------------------------------------------------------------------------------------


def _verdict(row: Row, pairs: Sequence[Row], places: Sequence[Row]) -> Verdict:
    name = str(row["model"])
    enough = is_enough(int(row["origins"]), int(row["spans"]))
    crps = crps_word(row["ratio_best"], row["ratio_best_se"])
    direction = direction_word(row["direction"], row["direction_p"], row["over_always"], row["over_always_se"])
    band = band_word(row["cover90"], _cover_error(row))
    if not enough:
        return Verdict(name, False, "not known", "not known", "not known", _too_little(row))
    sentences = [
        *_seen_before(row),
        _about_direction(row, direction),
        _about_crps(row, crps),
        _about_band(row, band, pairs),
        *_about_volatility(row, pairs),
        *_about_places(row, places),
    ]
    return Verdict(name, True, crps, direction, band, tuple(sentences))


def _cover_error(row: Row) -> float:
    """Of coverage; where every band held, or none did, that of origins which are independent and covered as they should
    be: that all agree is no certainty.
    """
    error = float(row["cover90_se"])
    return error if error != 0.0 or not row["origins"] else math.sqrt(0.9 * 0.1 / row["origins"])


def _too_little(row: Row) -> tuple[str, ...]:
    least = f"at least {FEWEST_ORIGINS} and {FEWEST_SPANS} are needed"
    shown = f"CRPS is {significant(row['crps'])} u" if math.isfinite(row["crps"]) else "CRPS is not known"
    if math.isfinite(row["ratio_best"]):
        shown += f", {row['ratio_best']:.2f} of {row['rival']}'s"
    return (
        f"too little to tell: {counted(int(row['origins']), 'origin')}, of which no more than {int(row['spans'])} "
        f"share no moment that is predicted ({least}).",
        f"For what it is worth, {shown}, and the 90 % band covers {percent(row['cover90'])}.",
    )


def _seen_before(row: Row) -> list[str]:
    if not row["before_cutoff"]:
        return []
    before, origins = int(row["before_cutoff"]), int(row["origins"])
    what = f"all {counted(origins, 'origin')} lie" if before >= origins else f"{before:,} of {origins:,} origins lie"
    when = f" ({row['cutoff']})" if isinstance(row["cutoff"], str) else ""
    return [f"Flattered: {what} before its cut-off{when}, so it may have seen what came."]


def _about_direction(row: Row, word: str) -> str:
    if word == "not known":
        return "Direction is not known."
    share = f"{percent(row['direction'], row['direction_se'])}, {probability(row['direction_p'])}"
    always = f"always saying the same is right in {percent(row['always'])}"
    return {
        "none": f"No evidence of an edge in direction ({share}).",
        "no more than always the same": f"Direction is right more often than a coin ({share}), but {always}: no edge.",
        "weak edge": f"Weak evidence of an edge in direction ({share}; {always}).",
        "edge": f"An edge in direction ({share}; {always}).",
        "weakly wrong": f"Weak evidence that it is worse than a coin in direction ({share}).",
        "wrong": f"Worse than a coin in direction ({share}).",
    }[word]


def _about_crps(row: Row, word: str) -> str:
    ratio = within(row["ratio_best"], row["ratio_best_se"], least=3)
    plain = f"{within(row['ratio_hv20'], row['ratio_hv20_se'], least=3)} of a Gaussian's with 20-bar volatility"
    if word == "not known" and not isinstance(row["rival"], str):
        return f"CRPS is {plain}; there is no baseline to hold it against."
    if word == "not known":
        return f"CRPS is {plain}; how it stands to {row['rival']} is not known ({ratio})."
    whose = "the next baseline's" if row["kind"] == "baseline" else "the best baseline's"
    return f"CRPS is {ratio} of {whose} ({row['rival']}): {word}; and {plain}."


def _about_band(row: Row, word: str, pairs: Sequence[Row]) -> str:
    share = percent(row["cover90"], row["cover90_se"])
    words = {
        "holds": "it holds what it says",
        "not told apart": "too few origins to say that this is not 90 %",
        "not known": "nothing is known",
    }
    said = [f"The 90 % band covers {share}: {words.get(word, word)}"]
    for than in ("better", "worse"):
        names = [p["against"] for p in pairs if calibration_word(p["calibration"], p["calibration_se"]) == than]
        said += [f"{than} calibrated than {listed(names)}"] if names else []
    return f"{'; '.join(said)}."


def _about_volatility(row: Row, pairs: Sequence[Row]) -> list[str]:
    """Said only where there is something to say: beside the best baseline, by QLIKE."""
    for pair in pairs:
        off, error = pair["qlike"], pair["qlike_se"]
        if pair["against"] == row["rival"] and math.isfinite(off) and math.isfinite(error):
            if abs(off) < SURE * error:
                return []
            how = "better" if off < 0 else "worse"
            return [f"Volatility is said {how} than by {row['rival']} (QLIKE {within(off, error)} apart)."]
    return []


def _about_places(row: Row, places: Sequence[Row]) -> list[str]:
    kept = [place for place in places if place["origins"] >= FEWEST_IN_PLACE]
    said = []
    for word in ("worse", "better"):
        found = [place for place in kept if crps_word(place["ratio_best"], place["ratio_best_se"]) == word]
        found.sort(key=lambda place: -abs(place["ratio_best"] - 1.0))
        names = [f"{place['group']} ({place['ratio_best']:.2f})" for place in found]
        said += [f"{word.capitalize()} than {row['rival']} in {listed(names, 4)}."] if names else []
    off = [place for place in kept if place_off(place["cover90"], _cover_error(place))]
    off.sort(key=lambda place: -abs(place["cover90"] - 0.9))
    names = [f"{place['group']} ({percent(place['cover90'])})" for place in off]
    return [*said, f"The 90 % band is off in {listed(names, 4)}."] if names else said


def place_off(covered: float, error: float) -> bool:
    """Whether the band's coverage at one place is outside .85 to .95, by chance hardly."""
    off = abs(covered - 0.9)
    return bool(off > PLACE_HOLDS + _ROUNDING and off >= SURE * error)
