"""The normaliser: the published formula to the bit, candles that always hold together, and no look at the future."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kronos.bars import COLUMNS, KINDS, fit_normaliser, invalid, time_stamps
from kronos.bars.candles import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME, Array
from kronos.errors import BarsError, ConfigError


def candles(
    rows: int,
    seed: int = 0,
    *,
    price: float = 50.0,
    volatility: float = 0.01,
    quiet: float = 0.0,
    unknown: float = 0.0,
    unit: float = 1.0,
) -> Array:
    """Valid random candles; `quiet` of them without volume, `unknown` without amount, the amount counted in `unit`."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(rng.normal(0, volatility, rows).cumsum())
    open_ = np.r_[price, close[:-1]] * np.exp(rng.normal(0, volatility / 4, rows))
    high = np.maximum(open_, close) * np.exp(rng.exponential(volatility / 3, rows))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(volatility / 3, rows))
    volume = np.where(rng.random(rows) < quiet, 0.0, rng.lognormal(5, 0.8, rows))
    typical = (open_ + high + low + close) / 4
    amount = volume * typical * unit * np.exp(rng.normal(0, volatility / 5, rows))
    amount = np.where(rng.random(rows) < unknown, 0.0, amount)
    bars = np.stack([open_, high, low, close, volume, amount], axis=-1)
    assert not invalid(bars).any()
    return bars


shares = st.sampled_from([0.0, 0.2, 1.0])
markets = st.builds(
    candles,
    st.integers(12, 60),
    st.integers(0, 10**6),
    price=st.floats(-8, 8).map(lambda power: 10.0**power),
    volatility=st.sampled_from([0.0, 1e-5, 1e-3, 0.02, 0.2]),
    quiet=shares,
    unknown=shares,
    unit=st.sampled_from([1.0, 1e-4, 100.0]),
)


# zscore and robust --------------------------------------------------------------------


def test_zscore_is_the_published_formula_in_float32() -> None:
    bars = candles(200, 1)
    wide = bars.astype(np.float32)
    mean, deviation = np.mean(wide, axis=0), np.std(wide, axis=0)
    wanted = np.clip((wide - mean) / (deviation + 1e-5), -5, 5)
    fitted = fit_normaliser("zscore", bars)
    given_ = fitted.apply(bars)
    assert given_.dtype == np.float32
    np.testing.assert_array_equal(given_, wanted)
    back = fitted.invert(given_)
    np.testing.assert_allclose(back, given_.astype(np.float64) * (deviation + np.float32(1e-5)) + mean, rtol=1e-6)


def test_clipping() -> None:
    bars = candles(50)
    bars[10, VOLUME] *= 1e6
    assert fit_normaliser("zscore", bars).apply(bars).max() == 5
    assert fit_normaliser("zscore", bars, clip=2.5).apply(bars).max() == 2.5
    assert np.abs(fit_normaliser("returns", bars, clip=0.5).apply(bars)).max() == 0.5


def test_robust_is_not_moved_by_one_bad_tick() -> None:
    bars = candles(101, 2)
    spoilt = bars.copy()
    spoilt[40] *= 1000
    others = np.arange(101) != 40
    steady, moved = (fit_normaliser("robust", some).apply(bars)[others] for some in (bars, spoilt))
    assert np.abs(steady - moved).max() < 0.5
    z, spoilt_z = (fit_normaliser("zscore", some).apply(bars)[others] for some in (bars, spoilt))
    assert np.abs(z - spoilt_z).max() > 1.0
    wanted = (bars[:, CLOSE] - np.median(bars[:, CLOSE])) / (
        1.4826 * np.median(np.abs(bars[:, CLOSE] - np.median(bars[:, CLOSE])))
    )
    np.testing.assert_allclose(fit_normaliser("robust", bars).apply(bars)[:, CLOSE], wanted.clip(-5, 5), rtol=1e-3)


def test_robust_where_most_volume_is_zero() -> None:
    bars = candles(40, 3, quiet=0.8)
    inputs = fit_normaliser("robust", bars).apply(bars)
    assert np.isfinite(inputs).all()
    assert inputs[:, VOLUME].std() > 0.1


@pytest.mark.parametrize("kind", ["zscore", "robust"])
def test_levels_come_back(kind: str) -> None:
    bars = candles(80, 4)
    fitted = fit_normaliser(kind, bars[:60], clip=1e6)
    np.testing.assert_allclose(fitted.invert(fitted.apply(bars)), bars, rtol=1e-4)


# returns --------------------------------------------------------------------


def test_returns_by_hand() -> None:
    """Two candles of look-back and one beyond, column by column."""
    bars = np.array(
        [
            [100.0, 104.0, 99.0, 102.0, 9.0, 900.0],
            [101.0, 105.0, 100.0, 103.0, 99.0, 10000.0],
            [104.0, 108.0, 103.0, 106.0, 24.0, 0.0],
        ]
    )
    fitted = fit_normaliser("returns", bars[:2])
    steps = [np.log(102 / 100), np.log(103 / 102)]  # the first bar has no gap
    volatility = np.sqrt(np.mean(np.square(steps)))
    gap, body = np.log(104 / 103), np.log(106 / 104)
    upper, lower = np.log(108 / 106), np.log(104 / 103)
    volume = (np.log(25) - np.log([10, 100]).mean()) / np.log([10, 100]).std()
    wanted = [*np.arcsinh(np.array([gap, body, upper, lower]) / volatility), volume, 0.0]
    np.testing.assert_allclose(fitted.apply(bars)[2], wanted, rtol=1e-5)
    typical = bars[:2, :4].mean(axis=1)
    off = np.log(bars[:2, AMOUNT] / (bars[:2, VOLUME] * typical))
    np.testing.assert_allclose(
        fitted.apply(bars)[:2, AMOUNT], np.arcsinh((off - np.median(off)) / volatility), rtol=1e-4
    )
    np.testing.assert_allclose(fitted.invert(fitted.apply(bars)[2:])[0, :5], bars[2, :5], rtol=1e-5)


@settings(max_examples=150, deadline=None)
@given(markets, st.data())
def test_bars_that_follow_come_back(bars: Array, data: st.DataObject) -> None:
    cut = data.draw(st.integers(6, len(bars) - 1))
    fitted = fit_normaliser("returns", bars[:cut])
    inputs = fitted.apply(bars)
    assert np.isfinite(inputs).all()
    future, back = bars[cut:], fitted.invert(inputs[cut:])
    assume((np.abs(inputs[cut:]) < 4.999).all())  # what is clipped is not to come back
    np.testing.assert_allclose(back[:, : CLOSE + 1], future[:, : CLOSE + 1], rtol=2e-4)
    if bars[:cut, VOLUME].std() > 0:
        np.testing.assert_allclose(np.log1p(back[:, VOLUME]), np.log1p(future[:, VOLUME]), atol=1e-3)
        priced = (future[:, AMOUNT] > 0) & (future[:, VOLUME] > 0)
        np.testing.assert_allclose(back[priced, AMOUNT], future[priced, AMOUNT], rtol=1e-2)
    assert (back[future[:, VOLUME] == 0][:, VOLUME] < 1e-2).all()


@settings(max_examples=150, deadline=None)
@given(markets, arrays(np.float32, (7, 6), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_whatever_the_network_writes_is_a_candle(bars: Array, wild: Any) -> None:
    fitted = fit_normaliser("returns", bars)
    for inputs in (wild, np.clip(wild, -6, 6), wild * 0):
        back = fitted.invert(inputs)
        assert not invalid(back).any()
        first = np.log(back[0, OPEN] / bars[-1, CLOSE])
        assert abs(first) <= 30.001  # it joins the last close, by a gap that is bounded


def test_a_bar_without_gap_begins_at_the_close_before() -> None:
    bars = candles(30, 5)
    inputs = np.random.default_rng(0).normal(0, 1, (4, 8, 6))
    inputs[..., 0] = 0.0
    back = fit_normaliser("returns", bars).invert(inputs)
    np.testing.assert_allclose(back[:, 0, OPEN], bars[-1, CLOSE], rtol=1e-12)
    np.testing.assert_allclose(back[:, 1:, OPEN], back[:, :-1, CLOSE], rtol=1e-9)
    still = fit_normaliser("returns", bars).invert(np.zeros((3, 6)))
    np.testing.assert_allclose(still[:, :4], bars[-1, CLOSE], rtol=1e-12)
    np.testing.assert_allclose(np.log1p(still[:, VOLUME]), np.log1p(bars[:, VOLUME]).mean(), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1000.0])
def test_returns_know_no_price_level(scale: float) -> None:
    bars = candles(40, 6)
    other = bars.copy()
    other[:, : CLOSE + 1] *= scale
    other[:, AMOUNT] *= scale
    first, second = (fit_normaliser("returns", some) for some in (bars, other))
    np.testing.assert_allclose(first.apply(bars), second.apply(other), atol=1e-5)
    inputs = np.random.default_rng(1).normal(0, 1, (5, 6))
    ratio = second.invert(inputs) / first.invert(inputs)
    np.testing.assert_allclose(ratio[:, [OPEN, HIGH, LOW, CLOSE, AMOUNT]], scale, rtol=1e-9)
    np.testing.assert_allclose(ratio[:, VOLUME], 1)


@pytest.mark.parametrize("volume", [0.0, 0.1, 3.0, 10.0, 123456.789, 1e6])
@pytest.mark.parametrize("rows", [8, 100, 399])
def test_constant_volume_has_no_deviation_to_amplify(volume: float, rows: int) -> None:
    bars = candles(rows, 7)
    bars[:, VOLUME], bars[:, AMOUNT] = volume, 0.0
    fitted = fit_normaliser("returns", bars)
    assert (fitted.apply(bars)[:, VOLUME] == 0).all()
    np.testing.assert_allclose(fitted.invert(np.full((2, 6), 3.0))[:, VOLUME], volume, rtol=1e-9, atol=1e-12)


def test_flat_prices() -> None:
    bars = np.tile([10.0, 10.0, 10.0, 10.0, 5.0, 50.0], (20, 1))
    for kind in KINDS:
        fitted = fit_normaliser(kind, bars)
        inputs = fitted.apply(bars)
        np.testing.assert_allclose(inputs, 0, atol=1e-3)
        np.testing.assert_allclose(fitted.invert(inputs[:3]), bars[:3], rtol=1e-6)


def test_the_unit_of_the_amount_is_the_median_and_not_the_first_bar_s() -> None:
    bars = candles(41, 8, unit=100.0)
    bars[0, AMOUNT] *= 3  # one odd amount
    inputs = fit_normaliser("returns", bars).apply(bars)[:, AMOUNT]
    assert np.median(np.abs(inputs[1:])) < 0.5
    assert inputs[0] > 3


# All kinds --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quiet", [0.0, 0.7, 1.0])
def test_a_batch_is_a_loop(kind: str, quiet: float) -> None:
    """Windows along a leading axis, and paths of one series, are normalised as each alone."""
    windows = np.stack([candles(40, seed, price=10.0**seed, quiet=quiet, unknown=seed / 4) for seed in range(4)])
    together = fit_normaliser(kind, windows[:, :30])
    inputs = together.apply(windows)
    assert inputs.shape == windows.shape
    paths = np.random.default_rng(0).normal(0, 1, (3, 7, 6))
    for row, window in enumerate(windows):
        alone = fit_normaliser(kind, window[:30])
        np.testing.assert_allclose(inputs[row], alone.apply(window), atol=1e-5)
        np.testing.assert_allclose(together.invert(inputs[:, 30:])[row], alone.invert(inputs[row, 30:]), rtol=1e-6)
        np.testing.assert_allclose(alone.invert(paths)[1], alone.invert(paths[1]), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_changes_no_input_of_the_lookback(kind: str) -> None:
    bars = candles(60, 9)
    changed = bars.copy()
    changed[40:] = candles(20, 10, price=900.0, volatility=0.1)
    first, second = (fit_normaliser(kind, some[:40]).apply(some)[:40] for some in (bars, changed))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(
        fit_normaliser(kind, bars[:40]).apply(bars)[:40], fit_normaliser(kind, bars[:40]).apply(bars[:40])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_are_not_changed(kind: str) -> None:
    bars = candles(30, 11)
    before = bars.copy()
    fitted = fit_normaliser(kind, bars)
    inputs = fitted.apply(bars)
    kept = inputs.copy()
    fitted.invert(inputs)
    np.testing.assert_array_equal(bars, before)
    np.testing.assert_array_equal(inputs, kept)


def test_what_cannot_be_fitted() -> None:
    for shape in ((6,), (10, 5), (0, 6)):
        with pytest.raises(BarsError, match="shape"):
            fit_normaliser("zscore", np.ones(shape))
    with pytest.raises(ConfigError, match=r"'minmax'.*zscore, robust, returns"):
        fit_normaliser("minmax", candles(10))
    for price in (0.0, -3.0, np.nan):
        bars = candles(10)
        bars[4, LOW] = price
        with pytest.raises(BarsError, match="not positive"):
            fit_normaliser("returns", bars)


# Time stamps --------------------------------------------------------------------


def test_time_stamps() -> None:
    times = pd.DatetimeIndex(["2024-01-01 00:00", "2024-02-29 23:59:30", "2023-12-31 09:35"])
    stamps = time_stamps(times)
    assert stamps.dtype == np.int64
    assert stamps.tolist() == [[0, 0, 0, 1, 1], [59, 23, 3, 29, 2], [35, 9, 6, 31, 12]]


def test_time_stamps_show_the_wall_clock_of_the_index() -> None:
    instant = pd.DatetimeIndex(["2024-03-31 23:30"], tz="UTC")
    assert time_stamps(instant).tolist() == [[30, 23, 6, 31, 3]]
    assert time_stamps(instant.tz_convert("Asia/Shanghai")).tolist() == [[30, 7, 0, 1, 4]]


def test_columns_are_the_published_six() -> None:
    assert COLUMNS == ("open", "high", "low", "close", "volume", "amount")
