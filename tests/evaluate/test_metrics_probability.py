"""Probabilities, ranks and the laws behind the p-values: against scikit-learn and scipy, and against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from kronos.errors import ConfigError
from kronos.evaluate.metrics.distribution import pit
from kronos.evaluate.metrics.laws import incomplete_beta, kolmogorov, t_quantile, two_sided_t
from kronos.evaluate.metrics.probability import brier, expected_calibration_error, reliability, uniformity

# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3.5, 19, 400, 100_000])
@pytest.mark.parametrize("statistic", [0.0, 1e-6, 0.3, -1.96, 4.0, 40.0])
def test_student(statistic: float, freedom: float) -> None:
    assert two_sided_t(statistic, freedom) == pytest.approx(
        2 * stats.t.sf(abs(statistic), freedom), rel=1e-9, abs=1e-300
    )


def test_student_at_the_edges() -> None:
    assert two_sided_t(np.inf, 5) == 0.0
    assert np.isnan(two_sided_t(np.nan, 5))
    assert two_sided_t(0.0, 5) == 1.0
    for bad in (0, -1, np.nan):
        with pytest.raises(ConfigError, match="degree of freedom"):
            two_sided_t(1.0, bad)
    with pytest.raises(ConfigError, match="level"):
        t_quantile(1.0, 5)


@pytest.mark.parametrize("freedom", [1, 4, 19, 5000])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.95, 0.999])
def test_the_quantile_of_student(level: float, freedom: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-9)


@settings(max_examples=60)
@given(st.floats(0.05, 300), st.floats(0.05, 300), st.floats(0, 1))
def test_the_incomplete_beta(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("count", [5, 10, 37, 140, 3000])
def test_kolmogorov(count: int) -> None:
    found = []
    for p in (0.99, 0.9, 0.5, 0.1, 0.05, 0.01, 0.001):
        distance = float(stats.kstwo.isf(p, count))
        found.append(kolmogorov(distance, count))
        assert found[-1] == pytest.approx(p, abs=0.1 / count + 1e-4)
    assert found == sorted(found, reverse=True)
    assert kolmogorov(0.0, count) == 1.0
    assert kolmogorov(1.0, count) < 1e-3
    with pytest.raises(ConfigError, match="at least one"):
        kolmogorov(0.3, 0)


# Ranks ----------------------------------------------------------------------------------------------------------------


def test_the_rank_by_hand() -> None:
    paths = np.array([[1.0], [2.0], [2.0], [4.0]])
    assert [float(pit(paths, [x])[0]) for x in (0.0, 1.5, 2.0, 3.0, 9.0)] == pytest.approx(
        [0.1, 0.3, (1 + 1 + 0.5) / 5, 0.7, 0.9]
    )


@settings(max_examples=25)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_the_rank_lies_inside_and_turns_with_the_sign(samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    paths, truth = rng.normal(size=(samples, 20)).round(1), rng.normal(size=20).round(1)
    found = pit(paths, truth)
    assert ((found > 0) & (found < 1)).all()
    np.testing.assert_allclose(pit(-paths, -truth), 1 - found)
    drawn = pit(paths, truth, rng)
    assert ((drawn > 0) & (drawn < 1)).all()
    equal = (paths == truth).sum(axis=0)
    assert (np.abs(drawn - found) <= (equal + 1) / (samples + 1) / 2).all()


@pytest.mark.parametrize(("samples", "digits"), [(9, 8), (9, 0), (100, 8)])
def test_the_rank_under_the_true_law_is_uniform(samples: int, digits: int) -> None:
    rng = np.random.default_rng(samples)
    paths, truth = rng.normal(size=(samples, 4000)).round(digits), rng.normal(size=4000).round(digits)
    assert stats.kstest(pit(paths, truth, rng), "uniform").pvalue > 0.02  # even where most paths tie
    found = pit(paths, truth)
    assert found.mean() == pytest.approx(0.5, abs=0.02)
    if digits:
        counts = np.bincount(np.round(found * (samples + 1) - 0.5).astype(int), minlength=samples + 1)
        assert stats.chisquare(counts).pvalue > 0.01  # every rank is as frequent as the next


def test_a_narrow_law_and_a_shifted_one_are_found_out() -> None:
    rng = np.random.default_rng(1)
    paths, truth = rng.normal(size=(99, 500)), rng.normal(size=500)
    assert uniformity(pit(paths, truth)).p > 0.05
    assert uniformity(pit(0.6 * paths, truth)).p < 1e-3
    assert uniformity(pit(paths + 0.4, truth)).p < 1e-6


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=80))
def test_the_distance_is_that_of_scipy(values: list[float]) -> None:
    found = uniformity(values)
    wanted = stats.kstest(values, "uniform")
    assert found.distance == pytest.approx(wanted.statistic, abs=1e-12)
    assert found.p == pytest.approx(wanted.pvalue, abs=0.012)


def test_numbers_that_are_no_ranks_are_refused() -> None:
    for bad in ([], [0.5, 1.2], [-0.1], [0.3, np.nan], [[0.3]]):
        with pytest.raises(ConfigError, match="uniform law"):
            uniformity(bad)


# Probabilities --------------------------------------------------------------------------------------------------------


def calls(count: int = 3000, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    said = rng.beta(2, 2, count)
    return said, (rng.random(count) < said).astype(float)


def test_brier_is_that_of_another_library() -> None:
    from sklearn.metrics import brier_score_loss

    said, came = calls()
    assert brier(said, came).mean() == pytest.approx(brier_score_loss(came, said))
    np.testing.assert_allclose(brier([0.2, 0.5, 0.9], [0.0, 0.5, 0.0]), [0.04, 0.0, 0.81])


def test_reliability_is_that_of_another_library() -> None:
    from sklearn.calibration import calibration_curve

    said, came = calls()
    happened, mean = calibration_curve(came, said, n_bins=8)
    found = reliability(said, came, 8)
    np.testing.assert_allclose(found.said, mean)
    np.testing.assert_allclose(found.happened, happened)
    assert found.count.sum() == len(said)
    happened, mean = calibration_curve(came, said, n_bins=6, strategy="quantile")
    found = reliability(said, came, 6, equal="count")
    np.testing.assert_allclose(found.happened, happened, atol=0.002)
    assert found.count.tolist() == [500] * 6


def test_bins_by_hand() -> None:
    found = reliability([0.0, 0.05, 0.5, 1.0], [0.0, 1.0, 0.5, 1.0], 10)
    np.testing.assert_allclose(found.said, [0.025, 0.5, 1.0])
    np.testing.assert_allclose(found.happened, [0.5, 0.5, 1.0])
    assert found.count.tolist() == [2, 1, 1]
    assert expected_calibration_error([0.0, 0.05, 0.5, 1.0], [0.0, 1.0, 0.5, 1.0]) == pytest.approx(0.475 / 2)
    tied = reliability([0.5] * 6, [0, 1, 0, 1, 1, 1], 3, equal="count")
    assert tied.count.tolist() == [6]  # equal probabilities are one bin
    assert tied.happened[0] == pytest.approx(4 / 6)


def test_the_calibration_error_tells_kept_from_broken_promises() -> None:
    said, came = calls(20_000)
    assert expected_calibration_error(said, came) < 0.02
    bold = np.where(said > 0.5, (said + 1) / 2, said / 2)
    assert expected_calibration_error(bold, came) > 0.08
    assert brier(bold, came).mean() > brier(said, came).mean()


def test_what_is_no_probability_is_refused() -> None:
    for said, came in (([1.2], [1.0]), ([np.nan], [1.0]), ([0.5], [2.0]), ([0.5], [0.0, 1.0])):
        with pytest.raises(ConfigError, match=r"between 0 and 1|shape"):
            brier(said, came)
    with pytest.raises(ConfigError, match="one row"):
        reliability([[0.5]], [[1.0]])
    with pytest.raises(ConfigError, match="one row"):
        reliability([], [])
    for how in ({"bins": 0}, {"equal": "size"}):
        with pytest.raises(ConfigError, match="bins"):
            reliability([0.5], [1.0], **how)
