"""Augmented windows are valid markets: candles hold, amounts follow prices, nothing is drawn but from the seed."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars import invalid
from kronos.bars.candles import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME
from kronos.data.sets.augment import (
    Augmentation,
    altered,
    invert_trend,
    price_noise,
    scale_amplitude,
    warp_time,
)
from kronos.errors import BarsError, ConfigError
from reference import bars_frame

KINDS = ["noise", "scale", "warp", "invert"]


def market(seed: int = 0, batch: int = 3, length: int = 30) -> np.ndarray:
    return np.stack([bars_frame(length, seed=seed * 100 + i).to_numpy() for i in range(batch)])


@st.composite
def windows(draw: st.DrawFn) -> np.ndarray:
    """Any valid candles: flat ones, tiny and huge prices, no volume, amounts in another unit."""
    seed, batch, length = draw(st.integers(0, 2**32)), draw(st.integers(1, 4)), draw(st.integers(1, 40))
    random = np.random.default_rng(seed)
    spread = draw(st.sampled_from([0.0, 1e-9, 0.01, 0.5]))
    level = 10.0 ** draw(st.integers(-6, 6))
    body = level * np.exp(random.normal(0, spread, (batch, length, 2)).cumsum(axis=1))
    wick = np.exp(random.exponential(spread + 1e-300, (batch, length, 2)) * (random.random((batch, length, 2)) < 0.7))
    high, low = body.max(-1) * wick[..., 0], body.min(-1) / wick[..., 1]
    volume = random.lognormal(3, 1, (batch, length)) * (
        random.random((batch, length)) < draw(st.sampled_from([1, 0.5, 0]))
    )
    price = low + (high - low) * random.random((batch, length))
    amount = volume * price * draw(st.sampled_from([1.0, 1000.0]))
    return np.stack([body[..., 0], high, low, body[..., 1], volume, amount], axis=-1)


def inside(bars: np.ndarray, dust: float = 1e-9) -> np.ndarray:
    """Whether amount / volume lies between low and high, where there is volume."""
    value, volume = bars[..., AMOUNT], bars[..., VOLUME]
    fits = (value >= volume * bars[..., LOW] * (1 - dust)) & (value <= volume * bars[..., HIGH] * (1 + dust))
    return fits | (volume == 0)


@settings(max_examples=150, deadline=None)
@given(windows(), st.sampled_from(KINDS), st.integers(0, 1000), st.floats(0, 1))
def test_candles_stay_valid_and_amounts_with_them(bars: np.ndarray, kind: str, seed: int, strong: float) -> None:
    limits = {"noise": 0.1 * strong, "scale": 1 + 4 * strong, "warp": strong, "invert": None}
    before = bars.copy()
    made = Augmentation(kind, 1.0, limits[kind])(bars, np.random.default_rng(seed))
    assert made.shape == bars.shape
    assert made.dtype == np.float64
    assert not invalid(made).any()
    np.testing.assert_array_equal(bars, before)  # pure
    np.testing.assert_allclose(made[..., VOLUME].sum(axis=-1), bars[..., VOLUME].sum(axis=-1), rtol=1e-9)
    held = inside(before).all(axis=-1)
    assert inside(made, 1e-6)[held].all()
    if kind != "warp":
        np.testing.assert_array_equal(made[..., VOLUME], bars[..., VOLUME])
        np.testing.assert_array_equal(made[..., AMOUNT] == 0, bars[..., AMOUNT] == 0)
    again = Augmentation(kind, 1.0, limits[kind])(bars, np.random.default_rng(seed))
    np.testing.assert_array_equal(made, again)


@pytest.mark.parametrize("function", [price_noise, scale_amplitude, warp_time])
def test_different_seeds_give_different_windows(function: object) -> None:
    bars = market()
    made = [function(bars, np.random.default_rng(seed)) for seed in (0, 1)]  # type: ignore[operator]
    assert not np.allclose(made[0], made[1])
    assert not np.allclose(made[0], bars)


@settings(max_examples=60, deadline=None)
@given(windows(), st.integers(0, 1000))
def test_no_noise_no_scale_no_warp_is_no_change(bars: np.ndarray, seed: int) -> None:
    for made in (
        price_noise(bars, np.random.default_rng(seed), 0.0),
        scale_amplitude(bars, np.random.default_rng(seed), 1.0),
        warp_time(bars, np.random.default_rng(seed), 0.0),
    ):
        np.testing.assert_array_equal(made, bars)
        assert made is not bars


@pytest.mark.parametrize(
    ("function", "strength"), [(price_noise, 1e-12), (scale_amplitude, 1 + 1e-12), (warp_time, 1e-12)]
)
def test_hardly_any_is_hardly_a_change(function: object, strength: float) -> None:
    """The identity is where the formulas lead, not an exception to them."""
    bars = market()
    bars[:, 1:, OPEN] = bars[:, :-1, CLOSE]  # a cut just after a gap would have it in the bar before
    bars[..., HIGH], bars[..., LOW] = bars[..., :4].max(-1), bars[..., :4].min(-1)
    made = function(bars, np.random.default_rng(0), strength)  # type: ignore[operator]
    np.testing.assert_allclose(made, bars, rtol=1e-8)


@settings(max_examples=60, deadline=None)
@given(windows())
def test_inverted_twice_is_no_change(bars: np.ndarray) -> None:
    np.testing.assert_allclose(invert_trend(invert_trend(bars)), bars, rtol=1e-9)


def test_inversion_mirrors_log_prices_at_the_first_open() -> None:
    bars = market()
    made = invert_trend(bars)
    first = np.log(bars[:, :1, OPEN])
    np.testing.assert_allclose(np.log(made[..., CLOSE]) - first, first - np.log(bars[..., CLOSE]))
    np.testing.assert_allclose(np.log(made[..., HIGH]) - first, first - np.log(bars[..., LOW]))
    np.testing.assert_allclose(np.log(made[..., LOW]) - first, first - np.log(bars[..., HIGH]))


def test_scaling_multiplies_all_log_moves_of_a_window_by_one_factor() -> None:
    bars = market(length=50)
    made = scale_amplitude(bars, np.random.default_rng(5), 2.0)
    moves, scaled = (np.diff(np.log(b[..., CLOSE]), axis=1) for b in (bars, made))
    factors = scaled / moves
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape))
    assert ((factors >= 0.5) & (factors <= 2)).all()
    assert len(np.unique(factors[:, 0].round(6))) == 3
    ranges, wider = (np.log(b[..., HIGH] / b[..., LOW]) for b in (bars, made))
    np.testing.assert_allclose(wider / ranges, factors[:, :1].repeat(50, axis=1))
    np.testing.assert_allclose(made[:, 0, OPEN], bars[:, 0, OPEN])


def test_noise_leaves_gaps_and_wicks_and_has_the_size_it_says() -> None:
    bars = market(batch=40, length=200)
    made = price_noise(bars, np.random.default_rng(2), 0.001)
    gaps, after = (np.log(b[:, 1:, OPEN] / b[:, :-1, CLOSE]) for b in (bars, made))
    np.testing.assert_allclose(after, gaps, atol=1e-12)
    upper, now = (np.log(b[..., HIGH] / b[..., [OPEN, CLOSE]].max(-1)) for b in (bars, made))
    np.testing.assert_allclose(now, upper, atol=1e-12)
    assert np.log(made[..., CLOSE] / bars[..., CLOSE]).std() == pytest.approx(0.001, rel=0.05)


def slow_warp(bars: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """One window, cut by walking along a path of a thousand points a bar."""
    fine = 3000
    prices, owner = [], []
    for i, (open_, high, low, close, _, _) in enumerate(bars):
        legs = [open_, high, low, close] if high - open_ < open_ - low else [open_, low, high, close]
        prices.append(np.interp(np.linspace(0, 3, fine + 1), range(4), legs))
        owner.append(i + np.linspace(0, 1, fine + 1))
    path, time = np.concatenate(prices), np.concatenate(owner)
    rows = []
    for begin, end in pairwise(cuts):
        part = path[(time >= begin - 1e-12) & (time <= end + 1e-12)]
        share = np.clip(np.minimum(end, np.arange(1, len(bars) + 1)) - np.maximum(begin, np.arange(len(bars))), 0, 1)
        rows.append([part[0], part.max(), part.min(), part[-1], share @ bars[:, VOLUME], share @ bars[:, AMOUNT]])
    return np.array(rows)


def test_warping_cuts_the_path_as_walking_along_it_does() -> None:
    from kronos.data.sets.augment import _recut

    bars = market(batch=2, length=12)
    random = np.random.default_rng(0)
    cuts = np.sort(random.uniform(0, 12, (2, 13)), axis=1)
    cuts[:, 0], cuts[:, -1] = 0, 12
    made = _recut(bars, cuts)
    for i in range(2):
        np.testing.assert_allclose(made[i], slow_warp(bars[i], cuts[i]), rtol=2e-4, atol=1e-9)


def test_warping_at_the_edges_of_bars_merges_and_keeps_them() -> None:
    from kronos.data.sets.augment import _recut

    bars = market(batch=1, length=4)
    kept = _recut(bars, np.array([[0.0, 1.0, 2.0, 3.0, 4.0]]))
    np.testing.assert_allclose(kept, bars, rtol=1e-12)
    merged = _recut(bars, np.array([[0.0, 2.0, 3.0, 3.5, 4.0]]))[0, 0]
    two = bars[0, :2]
    wanted = [two[0, OPEN], two[:, HIGH].max(), two[:, LOW].min(), two[1, CLOSE], *two[:, VOLUME:].sum(0)]
    np.testing.assert_allclose(merged, wanted, rtol=1e-12)


def test_warped_windows_begin_and_end_where_they_did() -> None:
    bars = market()
    made = warp_time(bars, np.random.default_rng(1), 0.5)
    np.testing.assert_allclose(made[:, 0, OPEN], bars[:, 0, OPEN])
    np.testing.assert_allclose(made[:, -1, CLOSE], bars[:, -1, CLOSE])
    np.testing.assert_allclose(made[..., HIGH].max(1), bars[..., HIGH].max(1))
    np.testing.assert_allclose(made[..., LOW].min(1), bars[..., LOW].min(1))


def test_prices_that_are_not_positive_are_refused() -> None:
    bars = market()
    bars[0, 3, LOW] = 0
    for function in (price_noise, scale_amplitude, invert_trend):
        with pytest.raises(BarsError, match="not positive"):
            function(bars, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "share", "strength", "words"),
    [
        ("twist", 0.5, None, "unknown augmentation 'twist'; known are noise, scale, warp, invert"),
        ("noise", 1.5, None, "share of 'noise' is 1.5"),
        ("noise", float("nan"), None, "share"),
        ("noise", 0.5, -1, "strength of 'noise' is -1"),
        ("scale", 0.5, 0.5, "from 1 to 5"),
        ("warp", 0.5, float("nan"), "strength"),
    ],
)
def test_bad_settings_are_refused(kind: str, share: float, strength: float | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Augmentation(kind, share, strength)


def test_each_befalls_its_share_and_the_rest_is_left() -> None:
    bars = np.tile(market(batch=1), (2000, 1, 1))
    made = altered(bars, [1, 2], [Augmentation("invert", 0.3)], 0.1)
    turned = (made[..., CLOSE] != bars[..., CLOSE]).any(axis=1)
    silent = (made[..., VOLUME:] == 0).all(axis=(1, 2))
    assert turned.mean() == pytest.approx(0.3, abs=0.04)
    assert silent.mean() == pytest.approx(0.1, abs=0.03)
    untouched = ~turned & ~silent
    np.testing.assert_array_equal(made[untouched], bars[untouched])
    np.testing.assert_array_equal(made, altered(bars, [1, 2], [Augmentation("invert", 0.3)], 0.1))


def test_nothing_to_do_gives_the_bars_themselves() -> None:
    bars = market()
    assert altered(bars, [1], []) is bars
    assert altered(bars, [1], [Augmentation("noise")]) is not bars
