"""The paper's measures: equal to independent ones, with errors that are right, and averaged as the paper does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from kronos.evaluate.protocols.paper_figures import (
    FEWEST_ORIGINS,
    MEASURES,
    Measured,
    Panel,
    class_weights,
    difference,
    mean_of,
    pearson_of,
    r2_of,
    spearman_of,
    table_of,
)

Two = Callable[[Any, Any], Measured]


def pair(rng: np.random.Generator, count: int, slope: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    x = rng.standard_t(6, count)
    return x, slope * x + rng.normal(0, 1, count)


def rows_of(rng: np.random.Generator, market: str, timeframe: str, count: int, skill: float) -> pd.DataFrame:
    said, came = rng.normal(0, 0.01, count), rng.normal(0, 0.01, count)
    return pd.DataFrame(
        {
            "market": market,
            "timeframe": timeframe,
            "asset": [f"{market}{i % 4}" for i in range(count)],
            "time": pd.date_range("2024-07-01", periods=count, freq="D"),
            "path_ic": rng.normal(skill, 0.5, count),
            "path_rank_ic": rng.normal(skill, 0.5, count),
            "said_return": said,
            "came_return": skill * said + came,
            "said_variance": said**2 + 1e-5,
            "came_variance": came**2,
        }
    )


# Values ---------------------------------------------------------------------------------------------------------------


def test_the_measures_are_those_of_scipy_and_scikit_learn() -> None:
    x, y = pair(np.random.default_rng(0), 200)
    ties = np.round(x)
    assert pearson_of(x, y).value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert spearman_of(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman_of(ties, y).value == pytest.approx(stats.spearmanr(ties, y).statistic)
    assert r2_of(x, y).value == pytest.approx(r2_score(y, x))


@pytest.mark.parametrize("measure", [pearson_of, spearman_of])
def test_a_constant_has_no_correlation(measure: Two) -> None:
    found = measure(np.ones(40), np.arange(40))
    assert np.isnan(found.value)
    assert not found.influence.any()
    assert np.isnan(r2_of(np.arange(40), np.ones(40)).value)


@pytest.mark.parametrize("slope", [0.0, 0.8])
@pytest.mark.parametrize("measure", [pearson_of, spearman_of, r2_of])
def test_the_influences_give_the_error_that_repetition_shows(measure: Two, slope: float) -> None:
    rng, count = np.random.default_rng(3), 300
    made = [measure(*pair(rng, count, slope)) for _ in range(400)]
    seen = np.std([one.value for one in made])
    said = np.sqrt(np.mean([np.square(one.influence).sum() / count**2 for one in made]))
    assert said == pytest.approx(seen, rel=0.12)
    assert all(abs(one.influence.mean()) < 1e-9 for one in made)


def test_a_mean_leaves_out_what_is_not_a_number() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    found = mean_of(values)
    assert found.value == 3.0
    there = values[[0, 2, 3]]
    assert np.square(found.influence).sum() / 16 == pytest.approx(there.var() / 3)
    assert np.isnan(mean_of([np.nan, np.nan]).value)


# Cells, classes, all --------------------------------------------------------------------------------------------------


def test_classes_weigh_alike_and_so_do_the_cells_of_a_class() -> None:
    keys = [("cn", "1d"), ("us", "1d"), ("us", "1h"), ("us", "5m")]
    assert class_weights(keys) == pytest.approx({keys[0]: 1 / 2, keys[1]: 1 / 6, keys[2]: 1 / 6, keys[3]: 1 / 6})


def test_the_table_is_the_mean_of_means_and_its_error_that_of_independent_cells() -> None:
    rng = np.random.default_rng(5)
    sizes = {("cn", "1d"): 400, ("us", "1d"): 100, ("us", "1h"): 200}
    cells = {key: rows_of(rng, *key, count, 0.2) for key, count in sizes.items()}
    rows = pd.concat(cells.values(), ignore_index=True)
    table = table_of("price", {"m": rows}).set_index(["market", "timeframe", "measure"])
    means = {key: one["path_rank_ic"].mean() for key, one in cells.items()}
    whole = table.loc[("all", "all", "rank_ic")]
    assert whole["value"] == pytest.approx(means["cn", "1d"] / 2 + (means["us", "1d"] + means["us", "1h"]) / 4)
    assert table.loc[("us", "all", "rank_ic"), "value"] == pytest.approx((means["us", "1d"] + means["us", "1h"]) / 2)
    assert table.loc[("us", "1h", "rank_ic"), "value"] == pytest.approx(means["us", "1h"])
    assert (whole["origins"], whole["cells"]) == (700, 3)
    # the rows are independent, so that the clustered error is about the plain one, and no less
    plain = np.sqrt(0.25 * 0.25 / 400 + 0.0625 * 0.25 / 100 + 0.0625 * 0.25 / 200)
    assert 0.9 * plain < whole["se"] < 2.0 * plain


def test_a_cell_of_few_origins_is_left_out() -> None:
    rng = np.random.default_rng(6)
    rows = pd.concat([rows_of(rng, "cn", "1d", FEWEST_ORIGINS - 1, 0.2), rows_of(rng, "us", "1d", FEWEST_ORIGINS, 0.2)])
    assert set(Panel.of(rows, MEASURES["return"]["rank_ic"]).values) == {("us", "1d")}
    assert table_of("return", {"m": rows[rows["market"] == "cn"]}).empty


def test_a_difference_is_surer_than_two_values() -> None:
    rng = np.random.default_rng(7)
    ours = rows_of(rng, "us", "1h", 300, 0.5)
    same = difference("return", "rank_ic", ours, ours)
    assert (same["value"], same["se"]) == (0.0, 0.0)
    theirs = ours.assign(said_return=ours["said_return"] + rng.normal(0, 0.001, len(ours)))
    gap = difference("return", "rank_ic", ours, theirs)
    alone = table_of("return", {"m": ours}).query("measure == 'rank_ic' and market == 'all'")["se"].item()
    assert 0 < gap["se"] < 0.4 * alone
    nothing = difference("return", "rank_ic", ours, rows_of(rng, "cn", "1d", 50, 0.0))
    assert np.isnan(nothing["value"])
