"""Scores of whole paths against scoringrules, and against what theory expects of them."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.errors import ConfigError
from kronos.evaluate.metrics.distribution import crps
from kronos.evaluate.metrics.joint import energy_score, variogram_score


def drawn(seed: int, samples: int, steps: int, level: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return level + rng.standard_normal((samples, steps)).cumsum(axis=1), level + rng.standard_normal(steps).cumsum()


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scoringrules by numpy alone: what it compiles when it finds numba takes longer than all these tests."""
    if "scoringrules" not in sys.modules:
        monkeypatch.setitem(sys.modules, "numba", None)
    return pytest.importorskip("scoringrules")


@pytest.mark.parametrize(("samples", "steps"), [(2, 1), (7, 3), (50, 24), (300, 12)])
def test_scores_are_those_of_another_library(rules: Any, samples: int, steps: int) -> None:
    paths, truth = drawn(samples, samples, steps)
    for column in range(steps):
        wanted = rules.crps_ensemble(truth[column], paths[:, column], estimator="fair")
        assert crps(paths, truth)[column] == pytest.approx(float(wanted), rel=1e-10)
    assert energy_score(paths, truth) == pytest.approx(rules.es_ensemble(truth, paths, estimator="fair"), rel=1e-10)
    if steps == 1:
        assert np.isnan(variogram_score(paths, truth))
        return
    pairs = steps * (steps - 1)  # it sums over both orders of a pair
    some = slice(0, 40)  # its fair form keeps a table of all pairs of paths and of steps
    fair = rules.vs_ensemble(truth, paths[some], p=0.5, estimator="fair") / pairs
    assert variogram_score(paths[some], truth) == pytest.approx(fair, rel=1e-9)
    for order in (0.5, 1.0, 2.0):
        plain = rules.vs_ensemble(truth, paths, p=order, estimator="nrg") / pairs
        assert variogram_score(paths, truth, order, fair=False) == pytest.approx(plain, rel=1e-9)


def test_by_hand() -> None:
    # the truth is 5 from either path; the paths are 6 apart
    assert energy_score([[3.0, 4.0], [-3.0, 4.0]], [0.0, 0.0]) == pytest.approx(5.0 - 3.0)
    # |3 - 4|^1 = 1 and |-3 - 4|^1 = 7 against 2: (4 - 2)^2, less the variance 18 over 2
    assert variogram_score([[3.0, 4.0], [-3.0, 4.0]], [0.0, 2.0], 1.0) == pytest.approx(4.0 - 9.0)
    assert variogram_score([[3.0, 4.0], [-3.0, 4.0]], [0.0, 2.0], 1.0, fair=False) == pytest.approx(4.0)


@settings(max_examples=25)
@given(st.integers(2, 300), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e6]))
def test_of_one_step_the_energy_is_the_crps(samples: int, seed: int, level: float) -> None:
    paths, truth = drawn(seed, samples, 1, level)
    assert energy_score(paths, truth) == pytest.approx(float(crps(paths, truth)[0]), rel=1e-7, abs=1e-9)


@settings(max_examples=20)
@given(st.integers(2, 200), st.integers(2, 8), st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_shift_and_order(samples: int, steps: int, seed: int, scale: float, shift: float) -> None:
    paths, truth = drawn(seed, samples, steps)
    energy, variogram = energy_score(paths, truth), variogram_score(paths, truth)
    moved, seen = scale * paths + shift, scale * truth + shift
    assert energy_score(moved, seen) == pytest.approx(scale * energy, rel=1e-6, abs=1e-9)
    assert variogram_score(moved, seen) == pytest.approx(scale * variogram, rel=1e-6, abs=1e-9)  # order .5, squared
    mixed = np.random.default_rng(seed).permutation(paths)
    assert energy_score(mixed, truth) == pytest.approx(energy, rel=1e-9, abs=1e-12)
    assert variogram_score(mixed, truth) == pytest.approx(variogram, rel=1e-9, abs=1e-12)


def test_paths_that_all_agree() -> None:
    truth = np.array([1.0, -2.0, 2.0])
    paths = np.tile(np.array([1.0, -2.0, 4.0]), (200, 1))
    assert energy_score(paths, truth) == pytest.approx(2.0)  # the distance, and no spread
    assert energy_score(np.tile(truth, (200, 1)), truth) == pytest.approx(0.0, abs=1e-12)
    assert variogram_score(np.tile(truth, (200, 1)), truth) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("score", [energy_score, variogram_score])
def test_they_are_fair_whatever_the_number_of_paths(score: Callable[..., float]) -> None:
    rng = np.random.default_rng(3)
    means, errors = [], []
    for samples in (2, 8, 64):
        found = [
            score(rng.standard_normal((samples, 5)).cumsum(axis=1), rng.standard_normal(5).cumsum()) for _ in range(400)
        ]
        means.append(np.mean(found))
        errors.append(np.std(found) / np.sqrt(400))
    for mean, error in zip(means[:2], errors[:2], strict=True):
        assert abs(mean - means[2]) < 4 * np.hypot(error, errors[2])


def test_they_see_a_wrong_dependence() -> None:
    """Steps that are right one by one and do not hang together: no score of single steps can tell."""
    rng = np.random.default_rng(4)
    right, wrong = [], []
    for _ in range(120):
        paths, truth = rng.standard_normal((60, 8)).cumsum(axis=1), rng.standard_normal(8).cumsum()
        torn = np.stack([rng.permutation(column) for column in paths.T], axis=1)
        np.testing.assert_allclose(crps(torn, truth), crps(paths, truth))
        right.append((energy_score(paths, truth), variogram_score(paths, truth)))
        wrong.append((energy_score(torn, truth), variogram_score(torn, truth)))
    worse = np.array(wrong) - np.array(right)
    errors = worse.std(axis=0) / np.sqrt(len(worse))
    assert (worse.mean(axis=0) > 4 * errors).all()
    relative = worse.mean(axis=0) / np.array(right).mean(axis=0)
    assert relative[1] > 3 * relative[0]  # the variogram score is there for this


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="two samples"):
        energy_score(np.zeros((1, 3)), np.zeros(3))
    with pytest.raises(ConfigError, match=r"\(samples, steps\)"):
        energy_score(np.zeros((4, 3, 2)), np.zeros((3, 2)))
    with pytest.raises(ConfigError, match="truth of shape"):
        variogram_score(np.zeros((4, 3)), np.zeros(2))
    with pytest.raises(ConfigError, match="order"):
        variogram_score(np.zeros((4, 3)), np.zeros(3), 0.0)
