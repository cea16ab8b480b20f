"""The tables of a benchmark: against what is known of the truth, against other code, and where figures are missing."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from judged import HORIZON, PATHS, SECONDS, simulated, tables_of
from kronos.errors import ConfigError
from kronos.evaluate.benchmark.calibration_tables import calibration, pit, pit_distance, reliability
from kronos.evaluate.benchmark.cross_section import cross_section
from kronos.evaluate.benchmark.panel import Panel
from kronos.evaluate.benchmark.results import Results
from kronos.evaluate.benchmark.tables import all_tables, as_json, leaderboard, slices
from kronos.evaluate.benchmark.task import Task
from kronos.evaluate.metrics.comparing import diebold_mariano_panel
from kronos.evaluate.metrics.uncertainty import paired, summary


@pytest.fixture(scope="module")
def found() -> Results:
    return simulated(cutoff="2024-07-15")


@pytest.fixture(scope="module")
def tables(found: Results) -> dict[str, pd.DataFrame]:
    return tables_of(found)


def invented(figures: dict[str, dict[str, np.ndarray]], horizon: int = 4, **places: object) -> Results:
    """Results whose figures are given: model -> figure -> values, one for each origin."""
    count = len(next(iter(next(iter(figures.values())).values())))
    frame = {
        "series": [f"s{i % 7}" for i in range(count)],
        "market": "us",
        "asset": [f"a{i % 7}" for i in range(count)],
        "timeframe": "1d",
        "time": pd.date_range("2024-01-01", periods=count, freq="D"),
        "origin": pd.date_range("2023-12-31", periods=count, freq="D"),
        "number": np.arange(count),
        "regime": "usual",
        "before_cutoff": False,
        "seconds": 0.1,
    } | places
    parts = [pd.DataFrame({"model": model, **frame, **values}) for model, values in figures.items()]
    facts = {name: {"seconds": 0.1, "samples": 99, "baseline": name != "ours"} for name in figures}
    return Results(Task(horizon=horizon), pd.concat(parts, ignore_index=True), facts, {})


def row_of(table: pd.DataFrame, **wanted: object) -> pd.Series:
    mask = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    assert mask.sum() == 1
    return table[mask].iloc[0]


# What is known of the truth -------------------------------------------------------------------------------------------


def test_who_knows_the_law_wins_and_holds_what_it_says(tables: dict[str, pd.DataFrame]) -> None:
    board = tables["leaderboard"].set_index("model")
    assert board.index[0] == "perfect"
    assert board.index[-1] == "narrow"
    perfect, narrow = board.loc["perfect"], board.loc["narrow"]
    assert abs(perfect["cover90"] - 0.9) < 3 * perfect["cover90_se"]
    assert perfect["pit_ks"] < perfect["pit_ks_chance"]
    assert perfect["ratio_best"] + 3 * perfect["ratio_best_se"] < 1
    assert perfect["ratio_best_low"] < perfect["ratio_best"] < perfect["ratio_best_high"] < 1
    assert perfect["direction_p"] < 0.001
    assert perfect["over_always"] > 2 * perfect["over_always_se"]
    assert narrow["cover90"] + 5 * narrow["cover90_se"] < 0.9
    assert narrow["pit_ks"] > 2 * narrow["pit_ks_chance"]
    assert narrow["ratio_best"] > 1
    assert narrow["qlike"] > 5 * board.loc["fhs", "qlike"]
    assert board.loc["hv20", "direction_p"] > 0.01


def test_the_best_baseline_is_held_against_the_next(tables: dict[str, pd.DataFrame]) -> None:
    board = tables["leaderboard"]
    others = board.loc[board["kind"] == "baseline", "model"].tolist()
    assert sorted(others) == ["ewma", "fhs", "hv20"]
    rivals = dict(zip(board["model"], board["rival"], strict=True))
    assert rivals.pop(others[0]) == others[1]
    assert set(rivals.values()) == {others[0]}


def test_the_gaussian_judged_by_paths_is_the_one_in_closed_form(tables: dict[str, pd.DataFrame]) -> None:
    row = tables["leaderboard"].set_index("model").loc["hv20"]
    assert abs(row["ratio_hv20"] - 1) < 3 * row["ratio_hv20_se"] < 0.1


# Against other code ---------------------------------------------------------------------------------------------------


def test_means_and_errors_are_those_of_summary(found: Results, tables: dict[str, pd.DataFrame]) -> None:
    told = summary(found.figures("fhs"))
    row = tables["leaderboard"].set_index("model").loc["fhs"]
    for name in ("crps", "cover50", "width95", "brier", "direction", "energy", "close_correlation", "mae"):
        assert row[name] == pytest.approx(told[name], rel=1e-12)
        assert row[f"{name}_se"] == pytest.approx(told[f"{name}_se"], rel=1e-12)
    assert found.summary()["fhs"]["coverage90"] == pytest.approx(row["cover90"])


def test_comparisons_are_those_of_paired_figures(found: Results, tables: dict[str, pd.DataFrame]) -> None:
    ours, theirs = found.figures("narrow"), found.figures("hv20")
    row = row_of(tables["comparisons"], model="narrow", against="hv20")
    assert (row["difference"], row["difference_se"]) == pytest.approx(paired(ours, theirs), rel=1e-12)
    assert row["p"] == pytest.approx(diebold_mariano_panel(ours, theirs).p, rel=1e-9)
    assert row["ratio"] == pytest.approx(ours["crps"].mean() / theirs["crps"].mean())
    assert row["qlike"] == pytest.approx((ours["qlike"] - theirs["qlike"]).mean())
    back = row_of(tables["comparisons"], model="fhs", against="hv20")
    forth = row_of(tables["comparisons"], model="hv20", against="fhs")
    assert back["difference"] == -forth["difference"]
    assert back["p"] == pytest.approx(forth["p"])
    off = [
        np.mean([abs(found.figures(name)[f"cover{level}"].mean() - level / 100) for level in (50, 80, 90, 95)])
        for name in ("narrow", "hv20")
    ]
    assert row["calibration"] == pytest.approx(off[0] - off[1])


def test_the_error_of_a_ratio_is_how_far_ratios_scatter() -> None:
    rng = np.random.default_rng(5)
    panel = Panel.of(invented({"ours": {"crps": np.ones(200)}}))
    ratios, errors = [], []
    for _ in range(300):
        hard = rng.gamma(3.0, 1.0, 200)
        ratio = panel.ratio(hard * rng.normal(0.9, 0.3, 200), hard)
        ratios.append(ratio.value)
        errors.append(ratio.error)
    assert np.mean(ratios) == pytest.approx(0.9, abs=0.01)
    assert 0.95 < np.mean(errors) / np.std(ratios) < 1.4  # the worst of several guesses is believed
    assert np.mean(np.abs(np.array(ratios) - 0.9) < 2 * np.array(errors)) > 0.93


def test_volatility_against_its_definition(found: Results, tables: dict[str, pd.DataFrame]) -> None:
    figures = found.figures("ewma")
    said, came = (np.sqrt(figures[f"{what}_variance"]) for what in ("said", "came"))
    row = tables["leaderboard"].set_index("model").loc["ewma"]
    assert row["volatility_r2"] == pytest.approx(1 - ((said - came) ** 2).sum() / ((came - came.mean()) ** 2).sum())
    unit = figures["volatility_unit"] * HORIZON**0.5
    assert row["volatility_mae"] == pytest.approx((np.abs(said - came) / unit).mean())


def test_correlations_across_assets_are_scipys() -> None:
    rng = np.random.default_rng(2)
    days, assets = 30, 6
    said = rng.normal(size=(days, assets))
    came = 0.5 * said + rng.normal(size=(days, assets))
    places = {
        "asset": [f"a{i}" for i in range(assets)] * days,
        "time": np.repeat(pd.date_range("2024-01-01", periods=days, freq="7D"), assets),
    }
    figures = {"crps": np.ones(days * assets), "said_return": said.ravel(), "came_return": came.ravel()}
    row = cross_section(Panel.of(invented({"ours": figures}, **places))).iloc[0]
    by_day = [stats.spearmanr(*pair).statistic for pair in zip(said, came, strict=True)]
    assert row["rank_ic"] == pytest.approx(np.mean(by_day))
    assert row["ic"] == pytest.approx(
        np.mean([stats.pearsonr(*pair).statistic for pair in zip(said, came, strict=True)])
    )
    assert row["icir"] == pytest.approx(np.mean(by_day) / np.std(by_day, ddof=1))
    assert (row["days"], row["assets"]) == (days, assets)
    assert row["p"] < 0.001
    few = {**places, "asset": [f"a{i % 4}" for i in range(days * assets)]}  # four assets a day are too few
    assert not len(cross_section(Panel.of(invented({"ours": figures}, **few))))


def test_lags_reach_as_far_as_the_horizon_does() -> None:
    rng = np.random.default_rng(2)
    places = {
        "asset": [f"a{i}" for i in range(5)] * 40,
        "time": np.repeat(pd.date_range("2024-01-01", periods=40, freq="2D"), 5),
    }
    figures = {"crps": np.ones(200), "said_return": rng.normal(size=200), "came_return": rng.normal(size=200)}
    row = cross_section(Panel.of(invented({"ours": figures}, horizon=24, **places))).iloc[0]
    assert row["lags"] == 11  # 24 days reach across 11 later forecasts, each two days after the other


# Parts of the whole ---------------------------------------------------------------------------------------------------


def test_parts_add_up_to_the_whole(tables: dict[str, pd.DataFrame]) -> None:
    whole = tables["leaderboard"].set_index("model")["crps"]
    table = tables["slices"]
    for kind in ("market", "timeframe", "market x timeframe", "regime", "year", "cut-off"):
        part = table[(table["slice"] == kind) & (table["model"] == "perfect")]
        assert part["origins"].sum() == 120
        assert np.average(part["crps"], weights=part["origins"]) == pytest.approx(whole["perfect"])
    assert dict.fromkeys(table.loc[table["slice"] == "timeframe", "group"]).keys() == {"1h": 0, "4h": 0, "1d": 0}.keys()
    assert list(dict.fromkeys(table.loc[table["slice"] == "timeframe", "group"])) == ["1h", "4h", "1d"]
    assert list(dict.fromkeys(table.loc[table["slice"] == "regime", "group"])) == ["calm", "usual", "wild"]
    early = row_of(table, slice="cut-off", group="before", model="perfect")
    assert early["origins"] == 48  # two weeks and a day, six origins every other day


def test_steps_add_up_to_the_whole(tables: dict[str, pd.DataFrame]) -> None:
    whole = tables["leaderboard"].set_index("model")
    for name, part in tables["steps"].groupby("model"):
        assert part["step"].tolist() == [1, 6, 12]
        for figure in ("crps", "cover50", "cover95", "width90"):
            assert part[figure].mean() == pytest.approx(whole.loc[name, figure])
    last = row_of(tables["steps"], model="perfect", step=12)
    assert last["direction"] == pytest.approx(
        whole.loc["perfect", "direction"], abs=0.02
    )  # (k + 1) / (n + 2) ties alike


def test_the_most_forecasts_that_share_no_moment() -> None:
    rng = np.random.default_rng(7)
    for _ in range(30):
        days = np.sort(rng.integers(0, 40, 9))
        panel = Panel.of(
            invented({"ours": {"crps": np.ones(9)}}, time=pd.Timestamp("2024-01-01") + pd.to_timedelta(days, "D"))
        )
        best = 0
        for mask in range(1 << 9):  # every choice there is
            kept = days[[bool(mask >> bit & 1) for bit in range(9)]]
            best = max(best, len(kept) if (np.diff(kept) >= 4).all() else 0)
        assert panel.spans_apart() == best


# Calibration ----------------------------------------------------------------------------------------------------------


def test_all_ranks_alike_are_uniform_to_the_last_digit() -> None:
    ranks = (np.arange(100) + 0.5) / 100  # of 99 paths, each place once
    panel = Panel.of(invented({"ours": {"crps": np.ones(100), "crps_4": np.ones(100), "pit_4": ranks}}))
    assert pit(panel)["share"].to_numpy() == pytest.approx(np.full(10, 0.1))
    curve = calibration(panel)
    assert curve["covered"].to_numpy() == pytest.approx(curve["level"].to_numpy())
    assert pit_distance(panel, "ours")[0] == pytest.approx(0.005)


def test_the_distance_that_chance_makes() -> None:
    rng = np.random.default_rng(1)
    times = np.repeat(pd.date_range("2024-01-01", periods=40, freq="D"), 3)
    panel = Panel.of(invented({"ours": {"crps_4": np.ones(120)}}, time=times))
    beyond, naive = [], []
    for _ in range(200):
        shared = np.repeat(rng.random(40), 3)  # ranks that go together in threes are worth a third of their number
        distance, chance = pit_distance(replace(panel, figures={"crps_4": shared[None], "pit_4": shared[None]}), "ours")
        beyond.append(distance > chance)
        naive.append(distance > 1.358 / 120**0.5)
    assert np.mean(beyond) < 0.08
    assert np.mean(naive) > 0.3  # as if they were independent


def test_the_curve_agrees_with_the_bands(tables: dict[str, pd.DataFrame]) -> None:
    bands, curve = tables["coverage"], tables["calibration"]
    for name in ("perfect", "narrow"):
        for level in (0.5, 0.8, 0.9, 0.95):
            exact = row_of(bands, model=name, level=level)["covered"]
            assert row_of(curve, model=name, level=level)["covered"] == pytest.approx(exact, abs=1.5 / PATHS)


def test_reliability_counts_everything_once(tables: dict[str, pd.DataFrame], found: Results) -> None:
    table = tables["reliability"]
    figures = found.figures("perfect")
    for event, said, happened in (("up", "up_{}", "rose_{}"), ("touch down", "touch_down", "touched_down")):
        part = table[(table["model"] == "perfect") & (table["event"] == event)]
        steps = (1, 6, 12) if event == "up" else (0,)
        assert part["count"].sum() == 120 * len(steps)
        for column, name in (("said", said), ("happened", happened)):
            mean = np.mean([figures[name.format(step)] for step in steps])
            assert np.average(part[column], weights=part["count"]) == pytest.approx(mean)
        assert part["said"].is_monotonic_increasing
        assert (part["least"].to_numpy()[1:] > part["most"].to_numpy()[:-1]).all()


def test_probabilities_that_are_kept_lie_on_the_line() -> None:
    rng = np.random.default_rng(3)
    said = rng.random(4000)
    rose = (rng.random(4000) < said).astype(float)
    figures = {"crps": np.ones(4000), "crps_4": np.ones(4000), "up_4": said, "rose_4": rose}
    table = reliability(Panel.of(invented({"ours": figures}, time=pd.date_range("2020", periods=4000, freq="h"))))
    assert len(table) == 10
    assert (np.abs(table["happened"] - table["said"]) < 3.5 * table["happened_se"]).all()
    assert table["happened_se"].between(0.01, 0.06).all()


def test_width_says_how_far_forecasts_miss(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["width_error"]
    perfect, narrow = (table[table["model"] == name] for name in ("perfect", "narrow"))
    assert np.average(perfect["missed"] / perfect["said"], weights=perfect["count"]) == pytest.approx(1.0, abs=0.15)
    assert (narrow["missed"] > 1.5 * narrow["said"]).all()
    assert perfect["missed"].iloc[-1] > 1.5 * perfect["missed"].iloc[0]


# What is paid, and what is written ------------------------------------------------------------------------------------


def test_a_price_is_of_cores_and_seconds(found: Results) -> None:
    facts = {name: {**known, "cores": 16 if name == "perfect" else 1} for name, known in found.facts.items()}
    board = leaderboard(Panel.of(found), facts, price=0.5).set_index("model")
    assert board.loc["perfect", "cost_per_1000"] == pytest.approx(SECONDS["perfect"] * 16 * 1000 * 0.5 / 3600)
    assert board.loc["fhs", "cost_per_1000"] == pytest.approx(SECONDS["fhs"] * 1000 * 0.5 / 3600)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="price of one core's hour"):
            leaderboard(Panel.of(found), facts, price=wrong)


def test_tables_are_written_as_json(tables: dict[str, pd.DataFrame]) -> None:
    tree = json.loads(as_json(tables), parse_constant=pytest.fail)
    assert {name: len(rows) for name, rows in tree.items()} == {name: len(table) for name, table in tables.items()}
    assert tree["leaderboard"][0]["crps"] == tables["leaderboard"]["crps"].iloc[0]
    odd = pd.DataFrame({"value": [math.nan, math.inf, 1.0], "count": np.array([1, 2, 3]), "name": [None, "b", "ü"]})
    assert json.loads(as_json({"odd": odd}))["odd"] == [
        {"value": None, "count": 1, "name": None},
        {"value": None, "count": 2, "name": "b"},
        {"value": 1.0, "count": 3, "name": "ü"},
    ]


# What is missing ------------------------------------------------------------------------------------------------------


def test_only_origins_that_all_models_have_are_compared(found: Results) -> None:
    scores = found.scores
    missing = (scores["model"] == "ewma") & (scores["number"] >= 110)
    panel = Panel.of(replace(found, scores=scores[~missing].sample(frac=1.0, random_state=1)))
    assert (len(panel), panel.uncommon) == (110, 10)
    assert panel.places["number"].tolist() == list(range(110))
    mine = scores[(scores["model"] == "fhs") & (scores["number"] < 110)]
    assert panel.mean("fhs", "crps").value == pytest.approx(mine["crps"].mean())


def test_results_that_cannot_be_laid_side_by_side_are_refused(found: Results) -> None:
    scores = found.scores
    with pytest.raises(ConfigError, match="no origin was judged"):
        Panel.of(replace(found, scores=scores.iloc[:0]))
    with pytest.raises(ConfigError, match="hold an origin twice"):
        Panel.of(replace(found, scores=pd.concat([scores, scores.iloc[:1]])))
    apart = scores[(scores["model"] == "fhs") ^ (scores["number"] < 60)]
    with pytest.raises(ConfigError, match="with every model"):
        Panel.of(replace(found, scores=apart))


def test_no_baseline_and_few_figures_leave_gaps_and_no_error(found: Results) -> None:
    kept = ["model", "series", "market", "asset", "timeframe", "time", "origin", "number", "regime", "before_cutoff"]
    scores = found.scores.loc[found.scores["model"] == "perfect", [*kept, "seconds", "crps", "hv20_crps", "cover90"]]
    tables = all_tables(replace(found, scores=scores, facts={"perfect": found.facts["perfect"]}))
    row = tables["leaderboard"].iloc[0]
    assert row["ratio_hv20"] < 1
    assert math.isnan(row["ratio_best"])
    assert math.isnan(row["brier"])
    assert row["rival"] is None
    assert [name for name, table in tables.items() if not len(table)] == [
        "comparisons", "steps", "reliability", "width_error", "cross_section",
    ]  # fmt: skip
    assert json.loads(as_json(tables))["leaderboard"][0]["ratio_best"] is None


def test_an_endless_loss_is_not_forgiven() -> None:
    losses = np.array([0.1, np.inf, 0.3, np.nan])
    panel = Panel.of(invented({"ours": {"crps": np.ones(4), "qlike": losses}}))
    assert panel.mean("ours", "qlike").value == math.inf
    assert panel.mean("ours", "qlike", np.array([True, False, True, True])).value == pytest.approx(0.2)


def test_a_look_back_that_stood_still_is_in_no_mean() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    panel = Panel.of(invented({"ours": {"crps": values}, "fhs": {"crps": 2 * values}}))
    assert panel.mean("ours", "crps").value == pytest.approx(3.0)
    assert panel.ratio(panel.values("ours", "crps"), panel.values("fhs", "crps")).value == pytest.approx(0.5)


def test_the_name_says_who_is_a_baseline_where_nobody_wrote_it_down(found: Results) -> None:
    results = replace(found, facts={name: {"seconds": 1.0} for name in found.facts})
    assert Panel.of(results).baselines == ("fhs", "ewma", "hv20")
    assert slices(Panel.of(results))["model"].nunique() == 5
