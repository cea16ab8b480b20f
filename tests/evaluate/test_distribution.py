"""Scores against their definitions, against integrals, and against what theory expects of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from kronos.errors import ConfigError
from kronos.evaluate import coverage, crps, crps_gaussian
from kronos.evaluate.metrics.distribution import interval, pinball, pinball_of, quantiles, width


def slow_crps(paths: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The definition: two sums over all samples and all pairs of different ones."""
    count = len(paths)
    near = sum(np.abs(x - truth) for x in paths) / count
    apart = sum(np.abs(paths[i] - paths[j]) for i in range(count) for j in range(count)) / (count * (count - 1))
    return near - apart / 2


def integrated_crps(mean: float, deviation: float, truth: float) -> float:
    """The integral of (F(x) - [x >= truth])^2."""

    def below(x: float) -> float:
        return float(special.ndtr((x - mean) / deviation)) ** 2

    def above(x: float) -> float:
        return float(special.ndtr((mean - x) / deviation)) ** 2

    reach = 12 * deviation
    low, high = min(mean - reach, truth - reach), max(mean + reach, truth + reach)
    return integrate.quad(below, low, truth, limit=200)[0] + integrate.quad(above, truth, high, limit=200)[0]


@settings(max_examples=40)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 100.0, -7.5]), st.booleans())
def test_crps_is_its_definition(count: int, seed: int, level: float, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    paths, truth = level + rng.standard_normal((count, 3, 2)), level + rng.standard_normal((3, 2))
    if tied:
        paths, truth = paths.round(), truth.round()
    found = crps(paths, truth)
    assert found.shape == (3, 2)
    np.testing.assert_allclose(found, slow_crps(paths, truth), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(crps(rng.permutation(paths), truth), found, rtol=1e-10, atol=1e-12)


def test_crps_by_hand() -> None:
    assert crps([0.0, 2.0], 1.0) == pytest.approx(0.0)  # mean distance 1, half the mean spread 1
    assert crps([0.0, 2.0], 5.0) == pytest.approx(3.0)
    assert crps([3.0, 3.0, 3.0], 1.0) == pytest.approx(2.0)
    np.testing.assert_allclose(crps([[1.0, 1.0]] * 4, [1.0, 0.0]), [0.0, 1.0])


def test_crps_is_fair_whatever_the_number_of_samples() -> None:
    rng = np.random.default_rng(5)
    truth = rng.standard_normal(20_000)
    for count in (2, 5, 50):
        mean = crps(rng.standard_normal((count, 20_000)), truth).mean()
        assert mean == pytest.approx(1 / np.sqrt(np.pi), abs=0.02), count  # of a Gaussian that is the truth


def test_crps_is_least_for_the_right_width_and_place() -> None:
    rng = np.random.default_rng(6)
    truth, noise = rng.standard_normal(20_000), rng.standard_normal((20, 20_000))
    right = crps(noise, truth).mean()
    for worse in (noise * 0.6, noise * 1.6, noise + 0.5):
        assert crps(worse, truth).mean() > right + 0.02


@pytest.mark.parametrize("mean", [0.0, -3.0])
@pytest.mark.parametrize("deviation", [0.01, 1.0, 40.0])
@pytest.mark.parametrize("z", [0.0, 0.3, -1.7, 6.0])
def test_the_gaussian_is_the_integral(mean: float, deviation: float, z: float) -> None:
    truth = mean + z * deviation
    found = crps_gaussian(mean, deviation, truth)
    assert found == pytest.approx(integrated_crps(mean, deviation, truth), rel=1e-6)


def test_the_gaussian_takes_arrays_and_no_width() -> None:
    found = crps_gaussian([0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [[1.0], [2.0]])
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[:, 1:], [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(found[:, 0], [crps_gaussian(0, 1, 1), crps_gaussian(0, 1, 2)])
    np.testing.assert_allclose(crps_gaussian(0, 1e-12, 1.0), 1.0)
    with pytest.raises(ConfigError, match="deviation"):
        crps_gaussian(0.0, -1.0, 0.0)


def test_samples_of_a_gaussian_score_as_the_gaussian() -> None:
    draws = np.random.default_rng(7).normal(2.0, 3.0, (200_000, 1))
    for truth in (-4.0, 1.0, 9.0):
        assert crps(draws, [truth])[0] == pytest.approx(float(crps_gaussian(2.0, 3.0, truth)), abs=0.03)


@pytest.mark.parametrize("samples", [20, 50, 100])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_interval_of_few_samples_holds_its_share(samples: int, share: float) -> None:
    rng = np.random.default_rng(samples)
    inside = coverage(rng.standard_normal((samples, 20_000)), rng.standard_normal(20_000), share)
    assert inside.dtype == bool
    assert inside.mean() == pytest.approx(share, abs=0.012)  # the usual quantiles would give .82, .865, .88 of .9


def test_coverage_by_hand() -> None:
    paths = np.arange(1.0, 20.0)[:, None]  # ranks 1 to 19 of 20: the .9 interval is [1, 19]
    assert [bool(coverage(paths, [x], 0.9)[0]) for x in (0.9, 1.0, 10.0, 19.0, 19.1)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    low, high = interval(paths, 0.5)
    assert (low[0], high[0]) == (5.0, 15.0)
    assert interval([1.0, 2.0], 0.9) == (1.0, 2.0)


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-50, 50))
def test_crps_moves_and_stretches_with_its_unit(count: int, seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    paths, truth = rng.standard_normal((count, 4)), rng.standard_normal(4)
    moved, seen = scale * paths + shift, scale * truth + shift
    np.testing.assert_allclose(crps(moved, seen), scale * crps(paths, truth), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(crps(-paths, -truth), crps(paths, truth), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        pinball(moved, seen, 0.3), scale * pinball(paths, truth, 0.3), rtol=1e-7, atol=1e-9 * max(scale, 1)
    )


@pytest.mark.parametrize("level", [0.05, 0.5, 0.8])
def test_the_quantile_loss_is_that_of_another_library(level: float) -> None:
    from sklearn.metrics import mean_pinball_loss

    rng = np.random.default_rng(8)
    paths, truth = rng.standard_normal((50, 300)), rng.standard_normal(300)
    said = np.sort(paths, axis=0)
    rank = level * 51  # of 50 samples
    low = said[int(rank) - 1]
    said = low + (rank - int(rank)) * (said[min(int(rank), 49)] - low)
    np.testing.assert_allclose(quantiles(paths, (level,))[0], said, atol=1e-12)
    found = pinball(paths, truth, level)
    assert found.shape == (300,)
    assert found.mean() == pytest.approx(mean_pinball_loss(truth, said, alpha=level))
    assert (found >= 0).all()
    worse = pinball_of(said + 0.3, truth, level).mean(), pinball_of(said - 0.3, truth, level).mean()
    assert found.mean() < min(worse)


def test_the_mean_over_all_levels_is_half_the_crps() -> None:
    paths, truth = np.random.default_rng(9).standard_normal((4000, 1)), np.array([0.7])
    levels = (np.arange(200) + 0.5) / 200
    losses = [float(pinball(paths, truth, level)[0]) for level in levels]
    assert 2 * np.mean(losses) == pytest.approx(float(crps(paths, truth)[0]), rel=0.01)


def test_how_wide_an_interval_is() -> None:
    paths = np.arange(1.0, 20.0)[:, None]
    assert width(paths, 0.9)[0] == 18.0
    assert width(paths, 0.5)[0] == 10.0
    assert (np.diff(quantiles(np.random.default_rng(1).standard_normal((7, 5)), (0.1, 0.5, 0.9)), axis=0) >= 0).all()
    for levels in ((0.0,), (0.5, 1.0)):
        with pytest.raises(ConfigError, match="level"):
            quantiles(paths, levels)


def test_what_is_no_distribution_is_refused() -> None:
    with pytest.raises(ConfigError, match="two samples"):
        crps([[1.0, 2.0]], [1.0, 2.0])
    with pytest.raises(ConfigError, match=r"\(4, 3\)"):
        crps(np.zeros((4, 3)), np.zeros(2))
    with pytest.raises(ConfigError, match="two samples"):
        coverage(3.0, 1.0, 0.5)
    for share in (0.0, 1.0, -2.0):
        with pytest.raises(ConfigError, match="share"):
            coverage(np.zeros((4, 3)), np.zeros(3), share)
