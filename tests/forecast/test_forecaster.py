"""From frames to forecasts: shapes, times, seeds, and that the future is not looked at."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from kronos import Forecast, Forecaster, Kronos, KronosPredictor, KronosTokenizer
from kronos.bars import invalid, time_stamps
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.forecast import KronosForecaster, forecaster
from reference import BACKENDS, TRAINED, bars_frame, tiny_network, tiny_tokenizer

Pair = tuple[Kronos, KronosTokenizer]


@pytest.fixture
def model(tiny_pair: Pair) -> KronosForecaster:
    return KronosForecaster(*tiny_pair, device="cpu", max_context=48)


def ours(**changes: Any) -> KronosForecaster:
    """A forecaster of our own kind: returns, and the next bar's stamp in UTC."""
    network = tiny_network(**TRAINED | changes)
    return KronosForecaster(network, tiny_tokenizer(normaliser="returns"), device="cpu", max_context=48)


def published() -> KronosForecaster:
    return KronosForecaster(tiny_network(), tiny_tokenizer(), device="cpu", max_context=48)


def close_to(first: Forecast, second: Forecast) -> None:
    """Equal but for rounding: sums in another order are not the same bits."""
    np.testing.assert_allclose(first.paths, second.paths, rtol=1e-4)
    assert first.timestamps.equals(second.timestamps)


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_one_frame_gives_one_forecast(model: KronosForecaster) -> None:
    frame = bars_frame(40)
    forecast = model.forecast(frame, 6, samples=9, seed=1)
    assert isinstance(forecast, Forecast)
    assert isinstance(model, Forecaster)
    assert forecast.paths.shape == (9, 6, 6)
    assert forecast.last_close == frame["close"].iloc[-1]
    assert forecast.timeframe == "1h"
    wanted = pd.date_range(frame.index[-1], periods=7, freq="1h")[1:]
    assert (forecast.timestamps == wanted).all()
    assert forecast.history is not None
    pd.testing.assert_frame_equal(forecast.history, frame, check_freq=False, check_index_type=False)


def test_a_list_gives_a_list_and_a_dict_a_dict(model: KronosForecaster) -> None:
    frames = [bars_frame(40, seed=1), bars_frame(25, seed=2), bars_frame(90, seed=3)]
    alone = [model.forecast(frame, 5, samples=4, seed=3) for frame in frames]
    for sequence in (frames, tuple(frames)):
        many = model.forecast(sequence, 5, samples=4, seed=3)
        assert isinstance(many, list)
        assert [one.name for one in many] == ["bars[0]", "bars[1]", "bars[2]"]
        for one, other in zip(many, alone, strict=True):
            close_to(one, other)
    named = model.forecast({"A": frames[0], "B": frames[1]}, 5, samples=4, seed=3)
    assert [(key, one.name) for key, one in named.items()] == [("A", "A"), ("B", "B")]
    close_to(named["B"], alone[1])
    assert list(model.forecast({7: frames[0]}, 2, samples=2)) == [7]  # type: ignore[dict-item]


def test_mixed_timeframes(model: KronosForecaster) -> None:
    frames = {freq: bars_frame(30, freq=freq, seed=i) for i, freq in enumerate(("5min", "1h", "1D"))}
    forecasts = model.forecast(frames, 4, samples=3)
    for freq, forecast in forecasts.items():
        step = pd.Timedelta(frames[freq].index[1] - frames[freq].index[0])
        assert (np.diff(forecast.timestamps) == step).all()
        assert forecast.timestamps[0] - frames[freq].index[-1] == step


def test_the_name_of_a_frame(model: KronosForecaster) -> None:
    frame = bars_frame(20)
    assert model.forecast(frame, 2, samples=2).name == "bars"
    frame.attrs["name"] = "BTC/USDT"
    assert model.forecast(frame, 2, samples=2).name == "BTC/USDT"


def test_messy_frames_are_read(model: KronosForecaster) -> None:
    frame = bars_frame(30)
    messy = frame.reset_index().rename(columns={"timestamp": "date", "open": "Open", "volume": "Vol", "amount": "amt"})
    close_to(model.forecast(messy, 4, samples=4), model.forecast(frame, 4, samples=4))


# Seeds ----------------------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_forecast_in_any_company(model: KronosForecaster) -> None:
    frames = {f"s{i}": bars_frame(rows, seed=i) for i, rows in enumerate((30, 30, 44, 30, 70))}
    alone = model.forecast(frames["s1"], 6, samples=8, seed=5)
    torch.manual_seed(99)  # the global generator has no part in it
    close_to(model.forecast(frames["s1"], 6, samples=8, seed=5), alone)
    close_to(model.forecast(frames, 6, samples=8, seed=5)["s1"], alone)
    backwards = dict(reversed(frames.items()))
    close_to(model.forecast(backwards, 6, samples=8, seed=5)["s1"], alone)
    more = model.forecast(frames["s1"], 6, samples=12, seed=5)
    np.testing.assert_allclose(more.paths[:8], alone.paths, rtol=1e-4)


def test_other_seeds_and_other_series_differ(model: KronosForecaster) -> None:
    frame = bars_frame(40)
    first, second = (model.forecast(frame, 6, samples=8, seed=seed) for seed in (0, 1))
    assert not np.allclose(first.paths, second.paths)
    assert not np.allclose(first.paths[0], first.paths[1])
    later = model.forecast(frame.set_axis(frame.index + pd.Timedelta("28D")), 6, samples=8, seed=0)
    assert not np.allclose(first.paths, later.paths)


def test_greedy_forecasts_have_equal_paths(model: KronosForecaster) -> None:
    forecast = model.forecast(bars_frame(40), 6, samples=3, top_k=1)
    np.testing.assert_allclose(forecast.paths[1:], np.broadcast_to(forecast.paths[:1], (2, 6, 6)), rtol=1e-5)


def test_forecast_and_predict_agree_on_valid_paths() -> None:
    """One engine behind two doors: the mean of greedy paths, where no candle had to be repaired."""
    predictor = KronosPredictor(*_pair(published()), device="cpu", max_context=48)
    frame = bars_frame(44)
    past, future = frame.iloc[:40], frame.index[40:]
    mean = predictor.predict(past, past.index, future, 4, top_k=1, top_p=1.0, verbose=False)
    forecast = predictor.forecast(past, 4, samples=1, top_k=1, y_timestamp=future)
    np.testing.assert_allclose(forecast.paths[0][:, [0, 3]], mean[["open", "close"]], rtol=1e-5)
    assert list(forecast.timestamps) == list(mean.index)


def _pair(model: KronosForecaster) -> Pair:
    return model.model, model.tokenizer


# Candles --------------------------------------------------------------------------------------------------------------


def test_candles_are_always_valid_and_mending_is_counted(model: KronosForecaster) -> None:
    forecast = model.forecast(bars_frame(40), 12, samples=30)
    assert not invalid(forecast.paths).any()
    if model.tokenizer.normaliser == "returns":
        assert forecast.repaired == 0
    else:
        assert 0 < forecast.repaired <= 30 * 12  # a random tokenizer's candles seldom hold together


def test_paths_below_zero_are_lifted() -> None:
    frame = bars_frame(40)
    frame.iloc[:, :4] *= np.geomspace(1, 1e-3, 40)[:, None]  # a crash: z-scores reach far below zero
    forecast = published().forecast(frame, 12, samples=30)
    assert not invalid(forecast.paths).any()
    assert forecast.repaired > 0


def test_no_volume_is_forecast_where_there_was_none(model: KronosForecaster) -> None:
    prices = bars_frame(40)[["open", "high", "low", "close"]]
    forecast = model.forecast(prices, 5, samples=6)
    assert (forecast.paths[..., 4:] == 0).all()
    assert (model.forecast(bars_frame(40), 5, samples=6).paths[..., 4] > 0).any()


def test_own_paths_join_the_last_close() -> None:
    """The first open is a gap away from the last close, in units of the look-back's volatility, as every later one."""
    frame = bars_frame(48)
    model = ours()
    forecast = model.forecast(frame, 6, samples=60)
    log_closes = np.log(frame["close"].to_numpy())
    volatility = np.sqrt(np.square(np.diff(log_closes)).mean())
    gaps = np.log(forecast.paths[:, 0, 0] / forecast.last_close) / volatility
    later = np.log(forecast.paths[:, 1:, 0] / forecast.paths[:, :-1, 3]) / volatility
    assert np.abs(gaps).max() < 1.5 * np.abs(later).max()


# The future is not looked at ------------------------------------------------------------------------------------------


def test_rows_that_were_cut_off_cannot_matter(model: KronosForecaster) -> None:
    frame = bars_frame(60)
    changed = frame.copy()
    changed.iloc[40:] = changed.iloc[40:] * 7 + 1
    first, second = (model.forecast(some.iloc[:40], 6, samples=5) for some in (frame, changed))
    np.testing.assert_array_equal(first.paths, second.paths)
    whole = model.forecast(frame, 6, samples=5)
    assert not np.allclose(first.paths, whole.paths)


def test_frames_are_not_changed(model: KronosForecaster) -> None:
    frame = bars_frame(40).drop(columns="amount")
    before = frame.copy(deep=True)
    forecast = model.forecast(frame, 3, samples=2)
    pd.testing.assert_frame_equal(frame, before)
    frame.iloc[:, :] = 1.0
    assert forecast.history is not None
    assert forecast.history["close"].iloc[-1] == before["close"].iloc[-1]


@pytest.mark.parametrize("lookback", [8, 20, 48, 1000])
def test_lookback(model: KronosForecaster, lookback: int) -> None:
    frame = bars_frame(70)
    forecast = model.forecast(frame, 4, samples=4, lookback=lookback)
    read = min(lookback, 48)
    assert forecast.meta["lookback"] == read
    close_to(forecast, model.forecast(frame.iloc[-read:], 4, samples=4, lookback=48))
    changed = frame.copy()
    changed.iloc[: 70 - read] = 1.0
    np.testing.assert_array_equal(model.forecast(changed, 4, samples=4, lookback=lookback).paths, forecast.paths)


@pytest.mark.parametrize(("horizon", "read"), [(4, 44), (24, 24), (30, 24), (100, 24)])
def test_the_usual_lookback_leaves_room_for_the_horizon(horizon: int, read: int) -> None:
    forecast = published().forecast(bars_frame(70), horizon, samples=2)
    assert forecast.meta["lookback"] == read
    assert forecast.history is not None
    assert len(forecast.history) == read


# Times ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [pd.DatetimeIndex, pd.Series, list])
def test_given_times(model: KronosForecaster, shape: Any) -> None:
    frame = bars_frame(30)
    times = pd.DatetimeIndex(["2024-03-09 10:00", "2024-03-11 10:00", "2024-03-15 11:00"])
    forecast = model.forecast(frame, 3, samples=3, y_timestamp=shape(times))
    assert list(forecast.timestamps) == list(times)
    assert forecast.meta["calendar"] == "as given"
    own = model.forecast(frame, 3, samples=3)
    assert not np.allclose(forecast.paths, own.paths)


def test_given_times_in_the_shape_of_the_data(model: KronosForecaster) -> None:
    frames = {"A": bars_frame(30), "B": bars_frame(20, seed=1)}
    times = {key: frame.index[-1] + pd.to_timedelta([3, 5], unit="h") for key, frame in frames.items()}
    by_name = model.forecast(frames, 2, samples=2, y_timestamp=dict(reversed(times.items())))
    in_order = model.forecast(list(frames.values()), 2, samples=2, y_timestamp=list(times.values()))
    for one, other, key in zip(by_name.values(), in_order, frames, strict=True):
        assert list(one.timestamps) == list(other.timestamps) == list(times[key])


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["2024-03-09 10:00"], "holds 1 times for a horizon of 2"),
        (["2024-03-05 04:00", "2024-03-05 06:00"], "begin after the last bar"),
        (["2024-03-09 10:00", "2024-03-09 09:00"], "must increase"),
        (["2024-03-09 10:00", "2024-03-09 10:00"], "must increase"),
        (["2024-03-09 10:00Z", "2024-03-09 11:00Z"], "time zone"),
        (["2024-03-09 10:00", None], "missing"),
    ],
)
def test_given_times_that_cannot_be(times: list[str], words: str) -> None:
    with pytest.raises(BarsError, match=words) as caught:
        published().forecast(bars_frame(30), 2, samples=2, y_timestamp=times)  # type: ignore[call-overload]
    assert "\n" not in str(caught.value)


def test_given_times_of_the_wrong_shape() -> None:
    frames = {"A": bars_frame(30), "B": bars_frame(20)}
    times = bars_frame(32).index[-2:]
    with pytest.raises(ConfigError, match="lacks B"):
        published().forecast(frames, 2, y_timestamp={"A": times})
    with pytest.raises(ConfigError, match="1 entries for 2 series"):
        published().forecast(list(frames.values()), 2, y_timestamp=[times])


def test_a_calendar_passes_through() -> None:
    frame = bars_frame(60, freq="1D", start="2024-01-01")
    weekdays = frame[frame.index.day_of_week < 5]
    learned = published().forecast(weekdays, 5, samples=2)
    assert (learned.timestamps.day_of_week < 5).all()
    named = published().forecast(weekdays, 5, samples=2, calendar="24/7")
    assert (np.diff(named.timestamps) == pd.Timedelta("1D")).all()
    assert named.meta["calendar"] == "24/7"
    assert (named.timestamps.day_of_week >= 5).any()
    with pytest.raises(ConfigError):
        published().forecast(weekdays, 5, samples=2, calendar="the moon's")


def test_a_utc_clock_reads_instants_and_a_given_clock_reads_the_wall() -> None:
    plain = bars_frame(40, tz="UTC")
    abroad = plain.tz_convert("Asia/Shanghai")
    for model, same in ((ours(), True), (ours(clock="given"), False)):
        here, there = (model.forecast(some, 5, samples=8) for some in (plain, abroad))
        assert str(there.timestamps.tz) == "Asia/Shanghai"
        assert (here.timestamps == there.timestamps).all()
        assert np.allclose(here.paths, there.paths, rtol=1e-4) == same
    naive = plain.tz_localize(None)  # no zone: taken as it stands
    np.testing.assert_allclose(
        ours().forecast(naive, 5, samples=8).paths, ours().forecast(plain, 5, samples=8).paths, rtol=1e-4
    )


def test_given_times_in_another_zone_are_converted() -> None:
    plain = bars_frame(40, tz="UTC")
    times = (plain.index[-1] + pd.to_timedelta([1, 2], unit="h")).tz_convert("America/New_York")
    forecast = ours().forecast(plain, 2, samples=4, y_timestamp=times)
    assert str(forecast.timestamps.tz) == "UTC"
    close_to(forecast, ours().forecast(plain, 2, samples=4))


def test_the_stamps_that_the_network_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = forecaster.Engine.run

    def spy(self: Any, prompts: Any, *rest: Any) -> Any:
        seen.append(prompts[0].stamps.numpy())
        return run(self, prompts, *rest)

    monkeypatch.setattr(forecaster.Engine, "run", spy)
    frame = bars_frame(70, tz="Asia/Shanghai")
    forecast = ours().forecast(frame, 3, samples=2)
    times = frame.index[-45:].append(forecast.timestamps).tz_convert("UTC")
    np.testing.assert_array_equal(seen[0], time_stamps(times))


# Settings -------------------------------------------------------------------------------------------------------------


def test_weights_that_moved_on_are_noticed() -> None:
    model, frame = ours(), bars_frame(30)
    before, made = model.forecast(frame, 4, samples=5), model.backend
    assert model.backend is made
    with torch.no_grad():
        model.model.head.proj_s1.weight.mul_(-1)
    assert model.backend is not made
    after = model.forecast(frame, 4, samples=5)
    assert not np.array_equal(before.paths, after.paths)
    with torch.no_grad():
        model.model.head.proj_s1.weight.mul_(-1)
    np.testing.assert_array_equal(model.forecast(frame, 4, samples=5).paths, before.paths)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_forecast_the_same(backend: str) -> None:
    if backend == "replayed":
        pytest.skip("has no name that users know")
    pair, frames = _pair(ours()), [bars_frame(30), bars_frame(21, seed=1), bars_frame(90, seed=2)]
    expected = KronosForecaster(*pair, backend="torch").forecast(frames, 7, samples=9, seed=3)
    found = KronosForecaster(*pair, backend=backend).forecast(frames, 7, samples=9, seed=3)
    for ours_, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours_.paths, theirs.paths, rtol=1e-4)
        assert ours_.meta["backend"] == backend


def test_meta_says_how_it_was_made() -> None:
    model = ours()
    model.model.record(cutoff="2024-01-31")
    frame = bars_frame(30)
    forecast = model.forecast(
        frame, 2, samples=2, seed=np.int64(4), T=0.8, top_k=None, top_p=0.9, overflow="slide", lookback=20
    )
    assert forecast.meta == {
        "model": "kronos",
        "cutoff": "2024-01-31",
        "seed": 4,
        "T": 0.8,
        "top_k": 0,
        "top_p": 0.9,
        "overflow": "slide",
        "backend": model.backend.name,
        "precision": "float32",
        "lookback": 20,
        "calendar": "24/7",
    }


@pytest.mark.parametrize("what", ["horizon", "samples"])
@pytest.mark.parametrize("value", [0, -3, 2.0, True, "4", None])
def test_counts_that_are_none(what: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{what} must be a whole number"):
        published().forecast(bars_frame(30), **{"horizon": 2, "samples": 2} | {what: value})


def test_settings_that_are_refused() -> None:
    frame = bars_frame(30)
    for how, words in (
        ({"overflow": "rolling"}, "exact, slide"),
        ({"T": 0.0}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"lookback": 7}, "too short"),
        ({"lookback": 0}, "at least 1"),
        ({"lookback": 10.5}, "whole number"),
    ):
        with pytest.raises(ConfigError, match=words):
            published().forecast(frame, 2, samples=2, **how)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="max_context"):
        KronosForecaster(*_pair(published()), max_context=0)


@pytest.mark.parametrize("data", [None, 3, "prices.csv", np.ones((20, 6)), {"open": 1}, [1, 2]])
def test_what_is_no_frame(data: Any) -> None:
    with pytest.raises(BarsError, match="DataFrame"):
        published().forecast(data, 2)


@pytest.mark.parametrize("data", [[], {}])
def test_nothing_to_forecast(data: Any) -> None:
    with pytest.raises(BarsError, match="empty"):
        published().forecast(data, 2)


def test_the_bad_frame_is_named() -> None:
    with pytest.raises(BarsError, match=r"bars\[1\].*7 rows are too few"):
        published().forecast([bars_frame(20), bars_frame(7)], 2)
    bad = bars_frame(20)
    bad.iloc[5, 3] = np.nan
    with pytest.raises(BarsError, match=r"ETH.*row 5.*close"):
        published().forecast({"BTC": bars_frame(20), "ETH": bad}, 2)


@pytest.mark.parametrize("overflow", ["exact", "slide"])
def test_horizons_beyond_the_context(model: KronosForecaster, overflow: Any) -> None:
    forecast = model.forecast(bars_frame(60), 110, samples=2, overflow=overflow)
    assert forecast.paths.shape == (2, 110, 6)
    assert not invalid(forecast.paths).any()
    assert forecast.meta["overflow"] == overflow


def test_progress_is_told_once_for_every_bar_of_every_path() -> None:
    told: list[tuple[int, int]] = []
    frames = [bars_frame(30), bars_frame(30, seed=1), bars_frame(20)]
    published().forecast(frames, 5, samples=7, progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {3 * 5 * 7}
    done = [done for done, _ in told]
    assert done == sorted(set(done))
    assert done[-1] == 3 * 5 * 7


def test_progress_true_draws_on_the_error_stream(capfd: pytest.CaptureFixture[str]) -> None:
    published().forecast(bars_frame(30), 3, samples=2, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "6/6" in err
    published().forecast(bars_frame(30), 3, samples=2)
    assert capfd.readouterr() == ("", "")


def test_context_and_name_come_from_the_network() -> None:
    model = KronosForecaster(tiny_network(max_context=24, name="twig"), tiny_tokenizer(), device="cpu")
    assert (model.max_context, model.name) == (24, "twig")
    assert model.forecast(bars_frame(40), 2, samples=2).meta["lookback"] == 22
    assert KronosForecaster(tiny_network(), tiny_tokenizer(), device="cpu").max_context == 512
    with pytest.raises(CheckpointError):
        KronosForecaster(tiny_network(), tiny_tokenizer(bits=(4, 4)))
