"""The learning rate: torch's own scheduler step by step, the shapes written out again, and what wild markets do."""

import math
import statistics
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kronos.data import Batch
from kronos.train import LoopSettings
from kronos.train.schedule import calm_share, rate_share, volatility_of


def rates(steps: int, **chosen: Any) -> list[float]:
    wanted = LoopSettings(steps=steps, **chosen)
    return [rate_share(step, steps, wanted) for step in range(steps)]


# One cycle ------------------------------------------------------------------------------------------------------------


def torchs(steps: int, pct_start: float, div: float, final_div: float) -> list[float]:
    """What torch's scheduler gives the steps, of a peak of 1."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=1.0,
        total_steps=steps,
        pct_start=pct_start,
        div_factor=div,
        final_div_factor=final_div,
        cycle_momentum=False,
    )
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if len(found) < steps:
            schedule.step()
    return found


@pytest.mark.parametrize(
    ("steps", "pct_start", "div", "final_div"),
    [
        (100, 0.03, 10, 1e4),  # the published fine-tuning's
        (1000, 0.3, 25, 1e4),  # torch's own defaults
        (7, 0.5, 4, 2),
        (4, 0.9, 10, 10),  # a way down that is shorter than a step
        (3, 0.1, 10, 10),  # a way up that is shorter than a step
        (50, 0.0, 10, 100),
        (1, 0.5, 10, 10),
    ],
)
def test_one_cycle_is_torch_s(steps: int, pct_start: float, div: float, final_div: float) -> None:
    ours = rates(steps, schedule="onecycle", warmup=pct_start, initial_lr=1 / div, final_lr=1 / (div * final_div))
    np.testing.assert_allclose(ours, torchs(steps, pct_start, div, final_div), rtol=1e-9, atol=1e-12)


@given(
    steps=st.integers(1, 60),
    pct_start=st.floats(0, 0.999),
    div=st.floats(1, 100),
    final_div=st.floats(1, 1e4),
)
@settings(max_examples=25)
def test_one_cycle_is_torch_s_whatever_is_chosen(steps: int, pct_start: float, div: float, final_div: float) -> None:
    assume(pct_start == 0 or pct_start > 1e-6)
    assume(abs(pct_start * steps - 1) > 1e-6)  # there torch divides nothing by nothing
    ours = rates(steps, schedule="onecycle", warmup=pct_start, initial_lr=1 / div, final_lr=1 / (div * final_div))
    np.testing.assert_allclose(ours, torchs(steps, pct_start, div, final_div), rtol=1e-7, atol=1e-9)


def test_one_cycle_with_a_warm_up_counted_in_steps() -> None:
    shared = rates(40, schedule="onecycle", warmup=0.25)
    assert rates(40, schedule="onecycle", warmup=10) == shared
    assert shared[9] == max(shared) == 1.0
    assert shared[0] == pytest.approx(0.1)
    assert shared[-1] == pytest.approx(0.02)
    assert rates(5, schedule="onecycle", warmup=1)[0] == 1.0  # torch cannot
    assert rates(5, schedule="onecycle", warmup=5)[-1] == 1.0
    assert all(math.isfinite(rate) for rate in rates(5, schedule="onecycle", warmup=50))


# The others -----------------------------------------------------------------------------------------------------------


def test_cosine_after_a_straight_warm_up() -> None:
    ours = rates(100, warmup=10, initial_lr=0.1, final_lr=0.02)
    up = np.linspace(0.1, 1.0, 11)[:10]
    down = 0.02 + 0.98 * (np.cos(np.pi * np.arange(90) / 90) + 1) / 2
    np.testing.assert_allclose(ours, np.concatenate([up, down]), rtol=1e-12)
    assert all(a < b for a, b in pairwise(ours[:11]))
    assert all(a > b for a, b in pairwise(ours[10:]))
    assert max(ours) == ours[10] == 1.0
    assert rate_share(100, 100, LoopSettings(warmup=10, final_lr=0.02)) == pytest.approx(0.02)


def test_a_warm_up_as_a_share_of_all_steps() -> None:
    assert rates(200, warmup=0.1) == rates(200, warmup=20)
    assert rates(200, warmup=0.1, schedule="constant") == rates(200, warmup=20, schedule="constant")
    assert rates(10, warmup=0.0)[0] == 1.0
    assert rates(10, warmup=1.0)[:2] == [0.1, 1.0]  # one step, and not all of them


def test_constant() -> None:
    ours = rates(30, schedule="constant", warmup=4, initial_lr=0.5)
    assert ours == [0.5, 0.625, 0.75, 0.875, *[1.0] * 26]
    assert rates(3, schedule="constant", warmup=0) == [1.0] * 3


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "constant"])
@pytest.mark.parametrize("warmup", [0, 0.3, 1, 7, 20, 35])
def test_up_then_down_and_never_beyond_the_peak(schedule: str, warmup: float) -> None:
    ours = rates(20, schedule=schedule, warmup=warmup, initial_lr=0.05, final_lr=0.01)
    assert all(0 < rate <= 1 for rate in ours)
    top = int(np.argmax(ours))
    assert all(a <= b for a, b in pairwise(ours[: top + 1]))
    assert all(a >= b for a, b in pairwise(ours[top:]))


# Volatility -----------------------------------------------------------------------------------------------------------


def batch_of(closes: np.ndarray) -> Batch:
    bars = np.repeat(closes[..., None], 6, axis=-1)
    return Batch(bars, np.zeros((*closes.shape, 5), dtype=np.int8), 2)


def test_volatility_is_the_median_deviation_of_returns() -> None:
    closes = np.exp(np.random.default_rng(0).normal(0, 0.02, (5, 30)).cumsum(axis=1) * np.arange(1, 6)[:, None])
    each = [statistics.pstdev([math.log(b / a) for a, b in pairwise(window)]) for window in closes.tolist()]
    assert volatility_of(batch_of(closes)) == pytest.approx(statistics.median(each), rel=1e-9)


def test_wilder_markets_are_learned_from_more_slowly() -> None:
    """One bar up a hundredth, one down: a deviation of a hundredth."""
    swing = batch_of(np.exp(0.01 * np.tile([0.0, 1.0], 10)[None, :-1]))
    assert volatility_of(swing) == pytest.approx(0.01)
    for base, share in ((0.01, 1 / 2), (0.02, 2 / 3), (0.001, 1 / 11)):
        assert calm_share(swing, base) == pytest.approx(share)
    assert calm_share(batch_of(np.ones((3, 9))), 0.01) == 1.0
    assert calm_share(batch_of(np.ones((3, 2))), 0.01) == 1.0  # too few bars to say
