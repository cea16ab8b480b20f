"""What a benchmark says in words: the rules at their borders, and whole verdicts of forecasters that are known."""

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from judged import part_of, simulated, tables_of
from kronos.evaluate.benchmark.results import Results
from kronos.evaluate.benchmark.tables import all_tables
from kronos.evaluate.benchmark.verdict import (
    Verdict,
    band_word,
    calibration_word,
    crps_word,
    direction_word,
    headline,
    is_enough,
    place_off,
    verdicts,
)
from kronos.evaluate.benchmark.wording import counted, listed, percent, probability, rounded, significant, within

Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def results() -> Results:
    return simulated(cutoff="2024-07-15")


@pytest.fixture(scope="module")
def tables(results: Results) -> Tables:
    return tables_of(results)


@pytest.fixture(scope="module")
def found(tables: Tables) -> dict[str, Verdict]:
    return verdicts(tables)


# Rules at their borders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "error", "word"),
    [
        (0.94, 0.02, "better"),  # three errors
        (0.941, 0.02, "probably better"),
        (0.96, 0.02, "probably better"),  # two
        (0.961, 0.02, "level"),
        (1.0, 0.025, "level"),
        (1.0, 0.0251, "not told apart"),  # two errors are more than .05
        (1.04, 0.02, "probably worse"),
        (1.06, 0.02, "worse"),
        (1.5, 0.2, "probably worse"),
        (1.39, 0.2, "not told apart"),
        (1.0, 0.0, "level"),
        (1.001, 0.0, "worse"),
        (0.9, math.nan, "not known"),
        (math.nan, 0.01, "not known"),
    ],
)
def test_crps(ratio: float, error: float, word: str) -> None:
    assert crps_word(ratio, error) == word


@pytest.mark.parametrize(
    ("covered", "error", "word"),
    [
        (0.9, 0.5, "holds"),
        (0.88, 0.001, "holds"),
        (0.92, 0.001, "holds"),
        (0.879, 0.01, "slightly too narrow"),
        (0.879, 0.0106, "not told apart"),
        (0.921, 0.01, "slightly too wide"),
        (0.88 - 1e-6, 0.01, "slightly too narrow"),
        (0.85, 0.01, "slightly too narrow"),
        (0.849, 0.01, "too narrow"),
        (0.95, 0.01, "slightly too wide"),
        (0.951, 0.01, "too wide"),
        (0.8, 0.01, "too narrow"),
        (0.799, 0.01, "far too narrow"),
        (1.0, 0.01, "too wide"),
        (0.25, 0.02, "far too narrow"),
        (0.7, 0.15, "not told apart"),
        (0.7, math.nan, "not told apart"),
        (math.nan, 0.1, "not known"),
    ],
)
def test_band(covered: float, error: float, word: str) -> None:
    assert band_word(covered, error) == word


@pytest.mark.parametrize(
    ("share", "p", "over", "over_error", "word"),
    [
        (0.512, 0.39, 0.1, 0.01, "none"),
        (0.55, 0.05, 0.1, 0.01, "none"),
        (0.55, 0.049, 0.02, 0.01, "weak edge"),
        (0.55, 0.01, 0.02, 0.01, "weak edge"),
        (0.55, 0.0099, 0.02, 0.01, "edge"),
        (0.55, 0.001, 0.0199, 0.01, "no more than always the same"),
        (0.55, 0.001, -0.02, 0.01, "no more than always the same"),
        (0.55, 0.001, math.nan, math.nan, "no more than always the same"),
        (0.45, 0.04, -0.1, 0.01, "weakly wrong"),
        (0.45, 0.009, -0.1, 0.01, "wrong"),
        (math.nan, math.nan, 0.0, 0.0, "not known"),
    ],
)
def test_direction(share: float, p: float, over: float, over_error: float, word: str) -> None:
    assert direction_word(share, p, over, over_error) == word


@pytest.mark.parametrize(
    ("difference", "error", "word"),
    [
        (-0.005, 0.0025, "better"),
        (-0.0049, 0.001, "alike"),
        (-0.005, 0.00251, "alike"),
        (0.02, 0.01, "worse"),
        (0.02, math.nan, "alike"),
    ],
)
def test_calibration(difference: float, error: float, word: str) -> None:
    assert calibration_word(difference, error) == word


def test_enough_and_places() -> None:
    assert is_enough(30, 8)
    assert not is_enough(29, 8)
    assert not is_enough(30, 7)
    assert not place_off(0.85, 0.001)
    assert place_off(0.849, 0.025)
    assert not place_off(0.849, 0.03)
    assert place_off(0.951, 0.01)


# Whole verdicts -------------------------------------------------------------------------------------------------------


def test_who_knows_the_law_is_praised(found: dict[str, Verdict]) -> None:
    one = found["perfect"]
    assert (one.enough, one.crps, one.direction, one.band) == (True, "better", "edge", one.band)
    assert one.band in ("holds", "not told apart")
    assert one.text.startswith("perfect: Flattered: 48 of 120 origins lie before its cut-off (2024-07-15)")
    assert "An edge in direction (" in one.text
    assert "of the best baseline's (" in one.text
    assert "better calibrated than " in one.text


def test_who_is_too_sure_is_caught(found: dict[str, Verdict]) -> None:
    one = found["narrow"]
    assert one.crps in ("worse", "probably worse")
    assert one.band == "far too narrow"
    assert ": far too narrow; worse calibrated than " in one.text
    assert "No evidence of an edge in direction (" in one.text
    assert "Volatility is said worse than by " in one.text
    assert "Flattered" not in one.text  # nobody knows of a cut-off
    assert not any(word in one.text for word in ("nan", "None", "inf"))


def test_the_headline_names_who_wins_and_who_loses(tables: Tables, found: dict[str, Verdict]) -> None:
    best = tables["leaderboard"].query("kind == 'baseline'")["model"].iloc[0]
    lines = headline(found, tables)
    assert lines == [
        "2 models and 3 baselines at the same 120 origins on 20 days.",
        f"perfect: better than the best baseline, {best}, by CRPS.",
        "Worse than it: narrow.",
    ]
    alarmed = headline(found, tables, ["nano, future: it changed"])
    assert alarmed[0] == "Do not believe these figures: a tripwire did not hold. nano, future: it changed"
    assert alarmed[1:] == lines


def test_a_loss_is_said_as_plainly_as_a_win(results: Results) -> None:
    table = all_tables(part_of(results, ("narrow", "fhs")))
    lines = headline(verdicts(table), table)
    assert lines[1:] == ["No model beats the best baseline, fhs, by CRPS.", "Worse than it: narrow."]


def test_too_little_says_nothing_else(results: Results) -> None:
    table = all_tables(part_of(results, ("perfect", "fhs"), 24))
    one = verdicts(table)["perfect"]
    assert (one.enough, one.crps, one.direction, one.band) == (False, "not known", "not known", "not known")
    assert one.text.startswith("perfect: too little to tell: 24 origins, of which no more than ")
    assert "For what it is worth, CRPS is " in one.text
    assert "That is too little to tell who is better." in headline(verdicts(table), table)


def test_many_origins_of_few_days_are_too_little(results: Results) -> None:
    few = part_of(results, ("perfect", "fhs"))
    days = few.scores["time"].dt.day_of_year % 3  # all of it in three days
    times = pd.Timestamp("2024-07-01") + pd.to_timedelta(days, "D")
    table = all_tables(replace(few, scores=few.scores.assign(time=times)))
    assert int(table["leaderboard"]["origins"].iloc[0]) == 120
    assert not verdicts(table)["perfect"].enough


def test_without_a_baseline_nothing_says_what_is_good(results: Results) -> None:
    table = all_tables(part_of(results, ("perfect",)))
    one = verdicts(table)["perfect"]
    assert one.crps == "not known"
    assert "of a Gaussian's with 20-bar volatility; there is no baseline to hold it against." in one.text
    assert headline({"perfect": one}, table)[-1].startswith("No baseline was judged beside them")


def test_baselines_alone(results: Results) -> None:
    table = all_tables(part_of(results, ("fhs", "hv20")))
    found = verdicts(table)
    assert headline(found, table)[-1].startswith("There is no model to judge; the best baseline is ")
    assert "of the next baseline's (" in found["fhs"].text


def changed(tables: Tables, name: str, **values: Any) -> Tables:
    board = tables["leaderboard"].copy()
    for column, value in values.items():
        board.loc[board["model"] == name, column] = value
    return {**tables, "leaderboard": board}


def test_the_sentences_follow_the_figures(tables: Tables) -> None:
    coin = {"direction": 0.512, "direction_se": 0.014, "direction_p": 0.39}
    level = {"ratio_best": 0.998, "ratio_best_se": 0.004, "cover90": 0.884, "cover90_se": 0.006, "before_cutoff": 0}
    text = verdicts(changed(tables, "perfect", **coin, **level))["perfect"].text
    assert text.startswith(
        "perfect: No evidence of an edge in direction (51.2 % ± 1.4, p 0.39). CRPS is 0.998 ± 0.004 of"
    )
    assert "): level; and " in text
    assert "The 90 % band covers 88.4 % ± 0.6: it holds what it says" in text
    always = {"direction": 0.56, "direction_p": 0.002, "always": 0.6, "over_always": -0.04, "over_always_se": 0.01}
    text = verdicts(changed(tables, "perfect", **always))["perfect"].text
    assert "but always saying the same is right in 60.0 %: no edge." in text


def test_that_all_agree_is_no_certainty(tables: Tables) -> None:
    every = {"cover90": 1.0, "cover90_se": 0.0}
    assert verdicts(changed(tables, "perfect", **every, origins=30))["perfect"].band == "not told apart"
    assert verdicts(changed(tables, "perfect", **every, origins=100))["perfect"].band == "too wide"


def test_a_verdict_becomes_json(found: dict[str, Verdict]) -> None:
    tree = found["narrow"].tree()
    assert tree["band"] == "far too narrow"
    assert " ".join(tree["sentences"]) in found["narrow"].text


# Numbers --------------------------------------------------------------------------------------------------------------


def test_numbers_have_as_many_digits_as_their_errors_leave_meaning() -> None:
    assert within(0.99834, 0.0042) == "0.998 ± 0.004"
    assert within(0.99834, 0.00042) == "0.9983 ± 0.0004"
    assert within(1.2345, 0.23) == "1.2 ± 0.2"
    assert within(1.2345, 0.23, least=3) == "1.234 ± 0.230"
    assert within(12.3, 4.0) == "12 ± 4"
    assert within(0.5, math.nan) == "0.500"
    assert within(math.nan, 0.1) == "–"
    assert within(math.inf, math.nan) == "∞"
    assert within(-0.0001, 0.02) == "0.00 ± 0.02"
    assert percent(0.5123, 0.0141) == "51.2 % ± 1.4"
    assert percent(0.5123, 0.0001) == "51.23 % ± 0.01"
    assert percent(0.5123) == "51.2 %"
    assert percent(1.0, 0.0) == "100.0 %"
    assert percent(math.nan, 0.1) == "–"
    assert [probability(p) for p in (0.39, 0.0421, 0.0996, 0.0001, math.nan)] == [
        "p 0.39", "p 0.042", "p 0.10", "p < 0.001", "p not known",
    ]  # fmt: skip
    assert [significant(value) for value in (0.0012345, 12.345, 12345.6, 0.0, math.nan)] == [
        "0.00123", "12.3", "12,300", "0", "–",
    ]  # fmt: skip
    assert rounded(-0.004, 2) == "0.00"
    assert rounded(-0.006, 2) == "-0.01"


def test_lists_are_read_aloud() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcd"), 2) == "a, b and 2 more"
    assert counted(1, "origin") == "1 origin"
    assert counted(1204, "origin") == "1,204 origins"
