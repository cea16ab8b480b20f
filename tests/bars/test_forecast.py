"""Forecast: its candles are valid, its probabilities honest, its files exact."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW, Array, invalid
from kronos.bars.forecast import Forecast, Forecaster, quantile_name
from kronos.errors import BarsError, ConfigError, SourceError

LAST = 100.0


def walk(seed: int, samples: int, horizon: int, volatility: float = 0.01) -> Array:
    """Valid random candles that start at `LAST`; prices on a coarse grid, so that ties do happen."""
    rng = np.random.default_rng(seed)
    close = np.round(LAST * np.exp(rng.normal(0, volatility, (samples, horizon)).cumsum(axis=1)), 1)
    start = np.concatenate([np.full((samples, 1), LAST), close[:, :-1]], axis=1)
    high = np.maximum(start, close) + np.round(rng.exponential(0.4, close.shape), 1)
    low = np.minimum(start, close) - np.round(rng.exponential(0.4, close.shape), 1)
    volume = rng.lognormal(3, 1, close.shape)
    return np.stack([start, high, low, close, volume, volume * close], axis=-1)


def make(
    seed: int = 0, samples: int = 40, horizon: int = 12, history: int = 50, tz: Any = None, **more: Any
) -> Forecast:
    times = pd.date_range("2024-03-01", periods=history + horizon, freq="1h", tz=tz, name="timestamp")
    past = (
        pd.DataFrame(walk(seed + 1, 1, history)[0], index=times[:history], columns=list(COLUMNS)) if history else None
    )
    return Forecast(walk(seed, samples, horizon), times[history:], LAST, past, "BTC/USDT", "1h", **more)


forecasts = st.builds(make, seed=st.integers(0, 10**6), samples=st.integers(1, 30), horizon=st.integers(1, 15))
prices = st.floats(90.0, 110.0)


# Candles -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(forecasts, st.lists(st.floats(0, 1), min_size=2, max_size=4))
def test_summaries_of_valid_paths_are_valid_and_ordered(forecast: Forecast, levels: list[float]) -> None:
    tables = [forecast.quantile(level) for level in sorted(levels)]
    for table in (forecast.mean(), forecast.median(), *tables):
        assert list(table.columns) == list(COLUMNS)
        assert table.index.equals(forecast.timestamps)
        assert not invalid(table.to_numpy()).any()
    for lower, upper in pairwise(tables):
        assert (lower <= upper + 1e-9).all(axis=None)


def test_summaries_are_numpys() -> None:
    forecast = make()
    assert np.allclose(forecast.mean(), forecast.paths.mean(axis=0), rtol=1e-14)
    assert np.allclose(forecast.quantile(0.9), np.quantile(forecast.paths, 0.9, axis=0), rtol=1e-14)


def test_paths_that_were_not_repaired_are_summarised_as_they_are() -> None:
    paths = walk(0, 3, 4)
    paths[:, :, HIGH] = 1.0
    forecast = Forecast(paths, make(horizon=4).timestamps, LAST)
    assert (forecast.mean()["high"] == 1.0).all()


def test_to_frame_names_its_columns() -> None:
    table = make().to_frame((0.025, 0.05, 0.5, 1))
    assert list(table.columns) == [*COLUMNS, "close_q2.5", "close_q05", "close_q50", "close_q100", "prob_up"]
    assert (table["close_q05"] <= table["close_q50"]).all()
    assert [quantile_name("close", q) for q in (0, 0.07, 0.29, 0.999)] == [
        "close_q00",
        "close_q07",
        "close_q29",
        "close_q99.9",
    ]
    with pytest.raises(ConfigError, match="twice"):
        make().to_frame((0.5, 0.5))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        make().quantile(q)


# Probabilities -----------------------------------------------------------------------------------------------------


def first_touch(path: Array, price: float, upwards: bool) -> int | None:
    for step, candle in enumerate(path):
        if candle[HIGH] >= price if upwards else candle[LOW] <= price:
            return step
    return None


@settings(max_examples=60, deadline=None)
@given(forecasts, prices, st.data())
def test_touch_agrees_with_a_plain_loop_and_is_monotone(forecast: Forecast, price: float, data: st.DataObject) -> None:
    by = data.draw(st.integers(1, forecast.horizon))
    found = [first_touch(path[:by], price, price >= LAST) for path in forecast.paths]
    hits = sum(step is not None for step in found)
    touch = forecast.prob_touch(price, by)
    assert touch == pytest.approx((hits + 1) / (forecast.samples + 2))
    assert 0 < touch < 1
    assert touch <= forecast.prob_touch(price)
    farther = LAST + 1.5 * (price - LAST)
    assert forecast.prob_touch(farther, by) <= touch


@settings(max_examples=60, deadline=None)
@given(forecasts, st.floats(0.01, 8.0), st.floats(0.01, 8.0), st.booleans())
def test_before_agrees_with_a_plain_loop(forecast: Forecast, gain: float, loss: float, long: bool) -> None:
    side = 1.0 if long else -1.0
    target, stop = LAST + side * gain, LAST - side * loss
    hits = 0
    for path in forecast.paths:
        won, lost = first_touch(path, target, long), first_touch(path, stop, not long)
        hits += won is not None and (lost is None or won < lost)
    before = forecast.prob_before(target, stop)
    assert before == pytest.approx((hits + 1) / (forecast.samples + 2))
    assert before <= forecast.prob_touch(target)


def test_a_candle_that_touches_both_is_the_stop() -> None:
    paths = np.array([[[100.0, 110.0, 90.0, 100.0, 1.0, 1.0]]])
    forecast = Forecast(paths, make(horizon=1).timestamps, LAST)
    assert forecast.prob_before(target=105.0, stop=95.0) == 1 / 3
    assert forecast.prob_before(target=95.0, stop=105.0) == 1 / 3
    assert forecast.prob_before(target=105.0, stop=80.0) == 2 / 3


@settings(max_examples=60, deadline=None)
@given(forecasts)
def test_prob_up_counts_ties_half(forecast: Forecast) -> None:
    up = forecast.prob_up()
    assert up.between(0, 1, inclusive="neither").all()
    for step, value in enumerate(up):
        closes = forecast.paths[:, step, CLOSE]
        score = sum(1.0 if close > LAST else 0.5 if close == LAST else 0.0 for close in closes)
        assert value == pytest.approx((score + 1) / (forecast.samples + 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f.prob_touch(-1.0), "positive price"),
        (lambda f: f.prob_touch(math.nan), "positive price"),
        (lambda f: f.prob_touch(101.0, by=0), "from 1 to 12"),
        (lambda f: f.prob_touch(101.0, by=13), "from 1 to 12"),
        (lambda f: f.prob_touch(101.0, by=True), "from 1 to 12"),
        (lambda f: f.prob_touch(101.0, by=1.5), "from 1 to 12"),
        (lambda f: f.prob_before(105.0, 101.0), "opposite sides"),
        (lambda f: f.prob_before(LAST, 95.0), "opposite sides"),
        (lambda f: f.prob_before(105.0, math.inf), "positive price"),
        (lambda f: f.prob_volatile(0.0), "factor"),
        (lambda f: f.prob_volatile(lookback=1), "lookback"),
        (lambda f: f.prob_volatile(lookback=50), "lookback"),
    ],
)
def test_senseless_questions_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(make())


# Returns and volatility --------------------------------------------------------------------------------------------


def test_volatility_of_known_paths() -> None:
    closes = np.array([[101.0, 101.0, 99.0], [100.0, 100.0, 100.0]])
    paths = np.repeat(closes[..., None], 6, axis=-1)
    forecast = Forecast(paths, make(horizon=3).timestamps, LAST)
    bars = [math.log(1.01), 0.0, math.log(99 / 101)]
    assert forecast.returns()[0] == pytest.approx(np.cumsum(bars))
    assert forecast.path_volatility() == pytest.approx([math.sqrt(sum(r * r for r in bars) / 3), 0.0])
    assert forecast.volatility() == pytest.approx(forecast.path_volatility().mean())


def test_prob_volatile_compares_with_the_recent_past() -> None:
    forecast = make(samples=200, horizon=24, history=100)
    assert forecast.history is not None
    recent = np.log(forecast.history["close"]).diff().iloc[-24:]
    share = (forecast.path_volatility() > math.sqrt((recent**2).mean())).mean()
    assert forecast.prob_volatile() == pytest.approx((200 * share + 1) / 202)
    assert forecast.prob_volatile() == forecast.prob_volatile(lookback=24)
    falling = [forecast.prob_volatile(factor) for factor in (0.1, 0.8, 1.0, 1.2, 10.0)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == 201 / 202
    assert falling[-1] == 1 / 202


@pytest.mark.parametrize("history", [0, 2])
def test_prob_volatile_needs_a_history(history: int) -> None:
    with pytest.raises(BarsError, match=f"carries {history}"):
        make(history=history).prob_volatile()


def test_returns_need_positive_closes() -> None:
    paths = walk(0, 2, 3)
    paths[1, 2, CLOSE] = -1.0
    with pytest.raises(BarsError, match="path 1, step 2"):
        Forecast(paths, make(horizon=3).timestamps, LAST).returns()


# What a Forecast accepts -------------------------------------------------------------------------------------------


def with_nan() -> Array:
    paths = walk(0, 2, 12)
    paths[1, 3, HIGH] = np.nan
    return paths


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"paths": np.ones((12, 6))}, "must be"),
        ({"paths": np.ones((0, 12, 6))}, "not empty"),
        ({"paths": np.ones((2, 12, 5))}, "must be"),
        ({"paths": np.ones((2, 11, 6))}, "12 time stamps for a horizon of 11"),
        ({"paths": with_nan()}, "path 1, step 3: high"),
        ({"timestamps": list(range(12))}, "DatetimeIndex"),
        ({"timestamps": pd.DatetimeIndex([pd.NaT] * 12)}, "NaT"),
        ({"last_close": 0.0}, "last_close"),
        ({"last_close": math.nan}, "last_close"),
        ({"history": pd.DataFrame({"close": [1.0]})}, "history must have"),
        ({"history": pd.DataFrame([[1.0] * 6], columns=list(COLUMNS))}, "DatetimeIndex"),
        ({"history": pd.DataFrame([[1] * 6], columns=list(COLUMNS), index=pd.DatetimeIndex(["2024"]))}, "float64"),
        ({"history": make(tz="UTC").history}, "time zone"),
        ({"repaired": -1}, "repaired"),
        ({"meta": {"model": object()}}, "JSON-able"),
    ],
)
def test_what_is_not_a_forecast_is_refused(change: dict[str, Any], words: str) -> None:
    good = make()
    parts: dict[str, Any] = {"paths": good.paths, "timestamps": good.timestamps, "last_close": LAST} | change
    with pytest.raises((BarsError, ConfigError), match=words):
        Forecast(**parts)


def test_a_forecast_cannot_be_changed_from_outside() -> None:
    meta: dict[str, Any] = {"T": np.float32(1.0), "seed": np.int64(3), "tags": ["a"]}
    forecast = make(meta=meta)
    meta["tags"].append("b")
    assert forecast.meta == {"T": 1.0, "seed": 3, "tags": ["a"]}
    with pytest.raises(ValueError, match="read-only"):
        forecast.paths[0, 0, 0] = 1.0
    with pytest.raises(AttributeError):
        forecast.name = "x"  # type: ignore[misc]
    assert forecast != make(meta=meta)  # identity: two forecasts are equal only if they are one
    assert len({forecast, forecast}) == 1


def test_repr_is_one_informative_line() -> None:
    text = repr(make())
    assert "\n" not in text
    assert all(part in text for part in ("BTC/USDT 1h", "40 paths x 12 bars", "2024-03-03", "%", "P(up) 0."))


# Files -------------------------------------------------------------------------------------------------------------

ZONES = [None, "UTC", "Asia/Shanghai", "America/New_York", timezone(timedelta(hours=5, minutes=30))]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("tz", ZONES, ids=str)
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_files_round_trip_to_the_bit(tmp_path: Path, suffix: str, tz: Any, unit: Any) -> None:
    whole = make(tz=tz, repaired=3, meta={"model": "nano", "T": 0.1, "nested": {"top_k": 0}, "none": None, "汉": "字"})
    forecast = Forecast(
        whole.paths, whole.timestamps.as_unit(unit), 1 / 3, whole.history, "贵州茅台", "1h", 3, whole.meta
    )
    again = Forecast.load(forecast.save(tmp_path / f"x{suffix}"))
    assert again.paths.tobytes() == forecast.paths.tobytes()
    assert again.paths.shape == forecast.paths.shape
    assert again.timestamps.equals(forecast.timestamps)
    assert again.timestamps.name == forecast.timestamps.name
    assert again.timestamps.unit == unit
    assert again.timestamps.tz == forecast.timestamps.tz
    pd.testing.assert_frame_equal(again.history, forecast.history, check_exact=True, check_freq=False)
    for name in ("last_close", "name", "timeframe", "repaired", "meta"):
        assert getattr(again, name) == getattr(forecast, name)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"x{suffix}"]


@settings(max_examples=15, deadline=None)
@given(forecast=forecasts, suffix=st.sampled_from([".npz", ".parquet"]))
def test_any_forecast_survives_a_file(
    tmp_path_factory: pytest.TempPathFactory, forecast: Forecast, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    assert np.array_equal(Forecast.load(forecast.save(path)).paths, forecast.paths)


def test_a_forecast_without_history_survives_a_file(tmp_path: Path) -> None:
    for suffix in (".npz", ".PARQUET"):
        assert Forecast.load(make(history=0).save(tmp_path / f"x{suffix}")).history is None


def test_the_parquet_file_is_a_plain_table(tmp_path: Path) -> None:
    forecast = make(samples=3, horizon=2, history=4, tz="Asia/Shanghai")
    table = pd.read_parquet(forecast.save(tmp_path / "x.parquet"))
    assert list(table.columns) == ["path", "step", "timestamp", *COLUMNS]
    assert table["path"].tolist() == [-1] * 4 + [0, 0, 1, 1, 2, 2]
    assert table["step"].tolist() == [-3, -2, -1, 0, 1, 2, 1, 2, 1, 2]
    assert table["timestamp"].iloc[-1] == forecast.timestamps[-1]
    assert np.array_equal(table["close"].to_numpy()[4:], forecast.paths[..., CLOSE].ravel())


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_damaged_file_is_named_and_never_half_read(tmp_path: Path, suffix: str) -> None:
    forecast = make(samples=4, horizon=3, history=5)
    path = forecast.save(tmp_path / f"x{suffix}")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    broken = [b"", b"PAR1", whole[:10], whole[: len(whole) // 2], whole[:-1]]
    for place in rng.integers(0, len(whole), 60):
        broken.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused = 0
    for content in broken:
        path.write_bytes(content)
        try:
            assert np.array_equal(Forecast.load(path).paths, forecast.paths)  # a byte nobody reads
        except SourceError as error:
            refused += path.name in str(error)
    assert refused >= 30


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "foreign.npz", a=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez(tmp_path / "pickle.npz", header=np.array([{"a": 1}], dtype=object))
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    for name in ("foreign.npz", "array.npz", "pickle.npz", "foreign.parquet", "missing.npz", "missing.parquet"):
        with pytest.raises(SourceError, match=name):
            Forecast.load(tmp_path / name)
    for call in (make().save, Forecast.load):
        with pytest.raises(ConfigError, match=r"x\.pkl"):
            call(tmp_path / "x.pkl")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_failed_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(seed=1).save(tmp_path / f"x{suffix}")
    old = path.read_bytes()

    def fail(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make(seed=2).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# The protocol ------------------------------------------------------------------------------------------------------


class Still:
    """The smallest Forecaster: nothing ever moves."""

    name = "still"

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        if isinstance(data, Mapping):
            return {key: self.forecast(frame, horizon, samples=samples) for key, frame in data.items()}
        if isinstance(data, Sequence):
            return [self.forecast(frame, horizon, samples=samples) for frame in data]
        times = pd.date_range(data.index[-1], periods=horizon + 1, freq="1h")[1:]
        paths = np.tile(data.to_numpy()[-1], (samples, horizon, 1))
        return Forecast(paths, times, float(data["close"].iloc[-1]), data, self.name)


def test_forecaster_is_a_checkable_promise() -> None:
    still: Forecaster = Still()
    assert isinstance(still, Forecaster)
    assert not isinstance(object(), Forecaster)
    frame = make().history
    assert frame is not None
    assert still.forecast(frame, 3).horizon == 3
    assert [one.horizon for one in still.forecast([frame, frame], 2)] == [2, 2]
    assert still.forecast({"a": frame}, 2, samples=5)["a"].samples == 5
