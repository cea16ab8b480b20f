"""Block bootstrap against arch, against theory, and by simulation of worlds whose mean is known."""

from typing import Any

import numpy as np
import pytest
from arch.bootstrap import CircularBlockBootstrap, StationaryBootstrap, optimal_block_length
from scipy import stats

from kronos.errors import ConfigError
from kronos.evaluate.metrics.bootstrap import block_bootstrap, block_length, difference, mean, ratio


def remembering(seed: int, count: int, phi: float) -> np.ndarray:
    """AR(1) of variance 1."""
    shocks = np.random.default_rng(seed).standard_normal(count + 100) * np.sqrt(1 - phi**2)
    for i in range(1, len(shocks)):
        shocks[i] += phi * shocks[i - 1]
    return shocks[100:]


@pytest.mark.parametrize(
    ("kind", "theirs"), [("stationary", StationaryBootstrap), ("circular", CircularBlockBootstrap)]
)
def test_errors_are_those_of_another_library(kind: str, theirs: Any) -> None:
    series = remembering(1, 300, 0.6)
    found = block_bootstrap(series, np.arange(300), block=12, kind=kind, draws=3000)
    other = theirs(12, series, seed=2)
    few = np.sqrt(25 / 24)  # of 25 stretches
    assert found.error == pytest.approx(few * float(np.sqrt(other.var(np.mean, 1000)[0])), rel=0.07)
    ends = other.conf_int(np.mean, 1000, method="percentile").ravel() - series.mean()
    ends *= few * stats.t.ppf(0.975, 24) / stats.norm.ppf(0.975)
    assert [found.low, found.high] == pytest.approx((series.mean() + ends).tolist(), abs=0.3 * found.error)
    assert found.estimate == pytest.approx(series.mean())
    assert found.low < found.estimate < found.high
    assert (found.block, found.moments) == (12, 300)


@pytest.mark.parametrize("phi", [0.3, 0.6, 0.8])
def test_stretches_are_as_long_as_theory_and_another_library_say(phi: float) -> None:
    worlds = [remembering(seed, 1000, phi) for seed in range(20)]
    for kind, factor in (("stationary", 1.0), ("circular", 1.5 ** (1 / 3))):
        found = np.array([block_length(world, kind) for world in worlds])
        theory = factor * (2 * phi / (1 - phi**2)) ** (2 / 3) * 1000 ** (1 / 3)
        assert np.median(found) == pytest.approx(theory, rel=0.4)
        theirs = np.array([float(optimal_block_length(world)[kind].iloc[0]) for world in worlds])
        assert np.median(found / theirs) == pytest.approx(1.0, abs=0.02)


def test_stretches_at_the_edges() -> None:
    assert block_length(np.full(50, 0.1)) == 1.0
    assert block_length([1.0, 2.0, 3.0]) == 1.0
    assert block_length(np.random.default_rng(0).standard_normal(2000)) < 8
    assert block_length(np.repeat([0.0, 1.0], 6), "circular") == 4  # the cap, a third
    assert 20 < block_length(np.arange(300.0)) <= 3 * np.sqrt(300)


@pytest.mark.parametrize("phi", [0.0, 0.6])
def test_the_interval_holds_the_truth_as_often_as_it_says(phi: float) -> None:
    held, errors, means = 0, [], []
    for seed in range(200):
        series = remembering(seed, 250, phi)
        found = block_bootstrap(series, np.arange(250), draws=100, level=0.9, seed=seed)
        held += found.low <= 0.0 <= found.high
        errors.append(found.error)
        means.append(found.estimate)
    assert held / 200 > (0.83 if phi == 0 else 0.78)
    assert np.mean(errors) / np.std(means) == pytest.approx(0.95, abs=0.15)


def test_few_moments_make_wide_intervals() -> None:
    """Four moments: draws alone would hold the truth far more seldom than they say."""
    rng = np.random.default_rng(6)
    held = [
        one.low <= 0.0 <= one.high
        for one in (block_bootstrap(rng.standard_normal(4), range(4), draws=100, level=0.9) for _ in range(300))
    ]
    assert 0.84 < np.mean(held) < 0.97


def test_what_moves_together_is_drawn_together() -> None:
    rng = np.random.default_rng(3)
    common = rng.standard_normal(150)
    values = (common[:, None] + 0.3 * rng.standard_normal((150, 20))).ravel()
    times = np.repeat(np.datetime64("2024-01-01", "ns") + np.arange(150) * np.timedelta64(1, "h"), 20)
    found = block_bootstrap(values, times)
    assert found.moments == 150
    assert found.error == pytest.approx(np.sqrt((1 + 0.09 / 20) / 150), rel=0.2)  # not of 3000 independent ones
    order = rng.permutation(3000)
    mixed = block_bootstrap(values[order], times[order])
    assert list(mixed) == pytest.approx(list(found), rel=1e-9)
    assert block_bootstrap(values, times) == found
    assert block_bootstrap(values, times, seed=1) != found


def test_a_ratio_is_drawn_with_both_its_sides() -> None:
    rng = np.random.default_rng(4)
    hard = rng.gamma(2, size=400)
    pair = np.stack([0.9 * hard + 0.01 * rng.standard_normal(400), hard], axis=1)
    found = block_bootstrap(pair, np.arange(400), ratio)
    assert found.estimate == pytest.approx(pair[:, 0].mean() / pair[:, 1].mean())
    assert found.low < found.estimate < found.high
    residual = (pair[:, 0] - found.estimate * pair[:, 1]) / pair[:, 1].mean()
    assert found.error == pytest.approx(residual.std() / np.sqrt(400), rel=0.2)  # the delta method
    alone = block_bootstrap(pair[:, 0], np.arange(400), mean)
    assert alone.error > 20 * found.error
    less = block_bootstrap(pair, np.arange(400), difference)
    assert less.estimate == pytest.approx((pair[:, 0] - pair[:, 1]).mean())


def test_what_is_no_number_is_left_out_of_its_column() -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((200, 2)) + 3
    values[::4, 0] = np.nan
    found = block_bootstrap(values, np.arange(200) // 2, ratio)
    assert found.estimate == pytest.approx(np.nanmean(values[:, 0]) / values[:, 1].mean())
    assert np.isfinite([found.low, found.high]).all()
    nothing = block_bootstrap([np.nan, np.nan], [0, 1])
    assert np.isnan([nothing.estimate, nothing.low]).all()


def test_one_moment_has_no_interval() -> None:
    found = block_bootstrap([1.0, 2.0, 6.0], [7, 7, 7])
    assert found.estimate == 3.0
    assert np.isnan([found.low, found.high, found.error]).all()
    assert found.moments == 1


def test_what_is_refused() -> None:
    values, times = np.arange(20.0), np.arange(20)
    for how in ({"draws": 1}, {"level": 1.0}, {"kind": "moving"}, {"block": 0.5}, {"block": 21}):
        with pytest.raises(ConfigError):
            block_bootstrap(values, times, **how)
    for bad in ((values, times[1:]), (np.zeros((2, 2, 2)), np.arange(2)), ([], [])):
        with pytest.raises(ConfigError, match="are needed"):
            block_bootstrap(*bad)
    with pytest.raises(ConfigError, match="one row"):
        block_length([1.0, np.nan])
