"""Stylised facts: what theory says of noise, of autoregressions and of GARCH is found again."""

from typing import Any

import numpy as np
import pytest
from statsmodels.tsa.stattools import acf

from kronos.errors import ConfigError
from kronos.evaluate.protocols.stylised import (
    FACTS,
    jackknife,
    kurtosis,
    lagged,
    stylised_facts,
    summed,
    tail_index,
    time_blocks,
)


def garch(rng: np.random.Generator, rows: int, bars: int, alpha: float, beta: float, lean: float = 0.0) -> np.ndarray:
    """Sequences of GARCH(1,1) with unit variance; `lean` makes falls weigh more (GJR)."""
    variance, found = np.ones(rows), np.empty((rows, bars + 200))
    for step in range(bars + 200):
        found[:, step] = np.sqrt(variance) * rng.standard_normal(rows)
        shock = found[:, step] ** 2 * (alpha + lean * (found[:, step] < 0))
        variance = (1 - alpha - beta - lean / 2) + shock + beta * variance
    return found[:, 200:]


def test_noise_has_none_of_them() -> None:
    rng = np.random.default_rng(0)
    found = stylised_facts(rng.standard_normal((4000, 24)), rng.standard_normal((4000, 24)))
    assert set(found) == set(FACTS)
    for name in ("acf_1", "acf_2_10", "abs_acf_1", "abs_acf_2_10", "leverage", "volume_volatility"):
        assert abs(found[name]) < 0.015, name
    for name in ("kurtosis", "kurtosis_2", "kurtosis_4", "kurtosis_8"):
        assert abs(found[name]) < 0.12, name


def test_fat_tails_thin_out_in_sums() -> None:
    draws = np.random.default_rng(1).laplace(size=(20_000, 16))  # excess kurtosis 3, of sums of k 3 / k
    found = stylised_facts(draws)
    for name, count in (("kurtosis", 1), ("kurtosis_2", 2), ("kurtosis_4", 4), ("kurtosis_8", 8)):
        assert found[name] == pytest.approx(3 / count, abs=0.2)


def test_the_tail_index_of_a_pareto_law() -> None:
    rng = np.random.default_rng(2)
    sizes = (1 - rng.random(200_000)) ** (-1 / 3.5)
    assert tail_index(sizes * rng.choice([-1, 1], len(sizes))) == pytest.approx(3.5, rel=0.04)
    assert np.isnan(tail_index(np.zeros(500)))


def test_memory_of_one_long_sequence_is_that_of_statsmodels() -> None:
    values = garch(np.random.default_rng(3), 1, 3000, 0.1, 0.85)
    for one in (values, np.abs(values)):
        wanted = acf(one[0], nlags=10, adjusted=True, fft=False)[1:]
        np.testing.assert_allclose(lagged(one, 10), wanted, atol=2e-3)


def test_memory_of_short_sequences_is_not_biased() -> None:
    """About means of their own, sequences of 12 would show -1/12 at every lag."""
    rng = np.random.default_rng(4)
    values = rng.standard_normal((20_000, 13))
    found = lagged(0.3 * values[:, :-1] + values[:, 1:], 5)  # a moving average: .3 / 1.09 at lag 1
    np.testing.assert_allclose(found, [0.3 / 1.09, 0, 0, 0, 0], atol=0.01)


def test_the_clusters_of_garch() -> None:
    alpha, beta = 0.15, 0.7
    values = garch(np.random.default_rng(5), 4000, 60, alpha, beta)
    first = alpha * (1 - alpha * beta - beta**2) / (1 - 2 * alpha * beta - beta**2)
    theory = first * (alpha + beta) ** np.arange(5)
    np.testing.assert_allclose(lagged(values**2, 5), theory, rtol=0.15)
    found = stylised_facts(values)
    persistence = alpha + beta
    kurt = 3 * (1 - persistence**2) / (1 - persistence**2 - 2 * alpha**2) - 3
    assert found["kurtosis"] == pytest.approx(kurt, rel=0.15)
    assert found["abs_acf_1"] > found["abs_acf_2_10"] > 0.05
    assert abs(found["acf_1"]) < 0.01
    assert abs(found["leverage"]) < 0.01


def test_leverage_is_seen_where_falls_weigh_more() -> None:
    found = stylised_facts(garch(np.random.default_rng(6), 2000, 60, 0.02, 0.75, lean=0.3))
    assert found["leverage"] < -0.04


def test_volume_that_goes_with_volatility() -> None:
    rng = np.random.default_rng(7)
    returns = rng.standard_normal((3000, 20))
    noise = rng.normal(0, np.abs(returns).std(), returns.shape)
    assert stylised_facts(returns, np.abs(returns) + noise)["volume_volatility"] == pytest.approx(0.5**0.5, abs=0.02)
    assert np.isnan(stylised_facts(returns)["volume_volatility"])


def test_short_sequences_say_what_they_can() -> None:
    found = stylised_facts(np.random.default_rng(8).standard_normal((50, 4)))
    assert np.isfinite(found["acf_2_10"])  # lags 2 and 3
    assert np.isnan(found["kurtosis_8"])
    assert summed(np.arange(10.0).reshape(2, 5), 2).tolist() == [[1.0, 5.0], [11.0, 15.0]]
    assert np.isnan(kurtosis(np.zeros(20)))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(9).standard_normal(60)

    def mean(rows: Any) -> dict[str, float]:
        return {"mean": float(values[rows].mean())}

    value, error = jackknife(mean, np.arange(60))["mean"]
    assert value == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    assert np.isnan(jackknife(mean, np.zeros(60, dtype=np.int64))["mean"][1])


def test_blocks_of_time_hold_about_as_many_and_keep_a_moment_whole() -> None:
    times = np.repeat(np.datetime64("2024-01-01", "ns") + np.arange(40) * np.timedelta64(1, "D"), 3)
    blocks = time_blocks(times, 8)
    assert np.bincount(blocks).tolist() == [15] * 8
    assert time_blocks(times[:3], 8).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("returns", "complaint"),
    [(np.zeros(5), "rows"), (np.zeros((3, 1)), "two bars"), (np.full((2, 3), np.nan), "no return")],
)
def test_what_is_no_sequence_is_refused(returns: np.ndarray, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        stylised_facts(returns)
    with pytest.raises(ConfigError, match="belong"):
        stylised_facts(np.ones((2, 3)), np.ones((2, 4)))
