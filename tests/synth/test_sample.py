"""Sample bars: always valid, the same for a seed, and recognisably a market."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.candles import COLUMNS, Array, invalid
from kronos.errors import ConfigError
from kronos.synth import sample_bars

KINDS = [
    ("crypto", "1h", 6000),
    ("crypto", "5m", 8000),
    ("crypto", "1d", 3000),
    ("stock", "5m", 8000),
    ("stock", "1d", 3000),
]


def log_returns(bars: pd.DataFrame) -> Array:
    return np.diff(np.log(bars["close"].to_numpy()))


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def ranks(values: Array) -> Array:
    return np.argsort(np.argsort(values)).astype(np.float64)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["crypto", "stock"]),
    st.integers(1, 400),
    st.integers(0, 2**32),
    st.sampled_from(["1m", "5m", "15m", "30m", "1h", "1d"]),
)
def test_bars_are_canonical_and_valid(kind: str, rows: int, seed: int, timeframe: str) -> None:
    bars = sample_bars(kind, rows, seed, timeframe)  # type: ignore[arg-type]
    assert bars.shape == (rows, 6)
    assert list(bars.columns) == list(COLUMNS)
    assert set(bars.dtypes) == {np.dtype(np.float64)}
    assert bars.index.name == "timestamp"
    assert bars.index.is_monotonic_increasing
    assert bars.index.is_unique
    assert not invalid(bars.to_numpy()).any()
    assert (bars["volume"] > 0).all()
    assert (bars["amount"] >= bars["volume"] * bars["low"]).all()
    assert (bars["amount"] <= bars["volume"] * bars["high"]).all()


def test_a_seed_is_a_market() -> None:
    pd.testing.assert_frame_equal(sample_bars(), sample_bars("crypto", 480, 7, "1h"))
    assert not sample_bars(seed=1).equals(sample_bars(seed=2))
    assert sample_bars().index[0] == pd.Timestamp("2024-01-01")


def test_stock_sessions() -> None:
    five = sample_bars("stock", 96, timeframe="5m").index
    clock = [f"{time:%H:%M}" for time in five[:48]]
    assert [clock[place] for place in (0, 1, 23, 24, 47)] == ["09:30", "09:35", "11:25", "13:00", "14:55"]
    assert [f"{time:%m-%d %H:%M}" for time in five[47:49]] == ["01-02 14:55", "01-03 09:30"]
    assert [f"{time:%H:%M}" for time in sample_bars("stock", 4).index] == ["09:30", "10:30", "13:00", "14:00"]
    assert set(sample_bars("stock", 50, timeframe="1d").index.day_of_week) == {0, 1, 2, 3, 4}


def test_open_follows_close_but_for_the_night() -> None:
    crypto = sample_bars(rows=500)
    assert (crypto["open"].to_numpy()[1:] == crypto["close"].to_numpy()[:-1]).all()
    stock = sample_bars("stock", 4800, timeframe="5m")
    jump = np.abs(np.log(stock["open"].to_numpy()[1:] / stock["close"].to_numpy()[:-1]))
    opening = (stock.index[1:].hour == 9) & (stock.index[1:].minute == 30)
    inside = np.diff(stock.index.to_numpy()) == np.timedelta64(5, "m")
    assert (jump[inside] == 0).all()
    assert np.median(jump[opening]) > 0.002


def test_prices_lie_on_the_tick_grid() -> None:
    for kind, digits in (("crypto", 1), ("stock", 2)):
        prices = sample_bars(kind, 300)[["open", "high", "low", "close"]].to_numpy()  # type: ignore[arg-type]
        assert (prices == prices.round(digits)).all()
    assert (sample_bars("stock", 300)["volume"] % 100 == 0).all()


@pytest.mark.parametrize(("kind", "timeframe", "rows"), KINDS)
@pytest.mark.parametrize("seed", [1, 2, 7])
def test_stylised_facts(kind: str, timeframe: str, rows: int, seed: int) -> None:
    bars = sample_bars(kind, rows, seed, timeframe)  # type: ignore[arg-type]
    returns = log_returns(bars)
    size = np.abs(returns)
    # Returns themselves are nearly unpredictable ...
    noise = 4 / np.sqrt(rows)
    assert abs(correlation(np.sign(returns[:-1]), np.sign(returns[1:]))) < noise
    # ... their size is not: it clusters, on ranks so that one crash does not decide, and for many bars ...
    for lag in (1, 3, 6):
        assert correlation(ranks(size[:-lag]), ranks(size[lag:])) > noise
    # ... their tails are fat (a normal distribution has a kurtosis of 3) ...
    standard = (returns - returns.mean()) / returns.std()
    assert (standard**4).mean() > 5
    assert (np.abs(standard) > 4).mean() > 10 * 6.3e-5
    # ... and large moves come with volume, and amounts with both.
    assert correlation(ranks(size), ranks(bars["volume"].to_numpy()[1:])) > 0.4
    # Wicks are prices that were traded: most bars have one, though calm ones may span a tick or two only.
    assert (bars["high"] > bars[["open", "close"]].max(axis=1)).mean() > 0.5


def test_the_day_has_a_rhythm() -> None:
    crypto = sample_bars(rows=8000)
    size = pd.Series(np.abs(log_returns(crypto)), index=crypto.index[1:])
    by_hour = size.groupby(size.index.hour).median()
    assert by_hour.loc[13:16].mean() > 1.3 * by_hour.loc[4:9].mean()
    assert size[size.index.day_of_week >= 5].median() < 0.85 * size[size.index.day_of_week < 5].median()
    stock = sample_bars("stock", 4800, timeframe="5m")
    volume = stock["volume"].groupby([stock.index.hour, stock.index.minute]).median()
    assert volume.loc[(9, 35)] > 1.5 * volume.loc[(10, 45)]
    assert volume.loc[(14, 55)] > volume.loc[(14, 0)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "bond"}, "crypto, stock"),
        ({"timeframe": "7m"}, "no timeframe '7m'"),
        ({"kind": "stock", "timeframe": "4h"}, "no timeframe '4h'"),
        ({"rows": 0}, "at least 1"),
    ],
)
def test_unknown_markets_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sample_bars(**arguments)  # type: ignore[arg-type]
