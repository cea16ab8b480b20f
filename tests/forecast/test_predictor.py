"""The reference's predictor: its numbers, its signatures, and what it refuses."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import kronos
from conftest import Golden
from kronos import KronosPredictor
from kronos.errors import BarsError, ConfigError
from reference import bars_frame, tiny_network, tiny_tokenizer

CASES = ("short", "overflow", "long_history", "no_volume", "no_amount", "batch")
GREEDY = {"T": 1.0, "top_k": 1, "top_p": 1.0, "sample_count": 1, "verbose": False}


@pytest.fixture
def predictor() -> KronosPredictor:
    return KronosPredictor(tiny_network(), tiny_tokenizer(), device="cpu", max_context=32)


def ask(
    predictor: KronosPredictor, frame: pd.DataFrame, horizon: int, given: pd.DataFrame | None = None, **how: Any
) -> pd.DataFrame:
    """Predict the last `horizon` rows from the rows before them."""
    past = frame.iloc[:-horizon]
    return predictor.predict(
        past if given is None else given, past.index, frame.index[-horizon:], horizon, **GREEDY | how
    )


# Golden --------------------------------------------------------------------


def _golden_call(golden: Golden, case: dict[str, Any]) -> tuple[list[Any], list[Any], list[Any]]:
    frames, pasts, futures = [], [], []
    for offset in case.get("batch", [0]):
        start = golden.cases["start"] + case.get("offset", 0) + offset
        middle, stop = start + case["context"], start + case["context"] + case["horizon"]
        columns = case.get("columns", ["open", "high", "low", "close", "volume", "amount"])
        frames.append(golden.bars.iloc[start:middle][columns])
        pasts.append(golden.bars["timestamps"].iloc[start:middle])
        futures.append(golden.bars["timestamps"].iloc[middle:stop])
    return frames, pasts, futures


@pytest.mark.parametrize("name", CASES)
def test_golden_forecasts(golden: Golden, name: str) -> None:
    assert set(golden.cases["cases"]) == set(CASES)
    case = golden.cases["cases"][name]
    frames, pasts, futures = _golden_call(golden, case)
    predictor = KronosPredictor(golden.network, golden.tokenizer, device="cpu", max_context=case["max_context"])
    given = predictor.predict_batch(frames, pasts, futures, case["horizon"], **GREEDY)
    wanted = golden.arrays[f"predict_{name}"].reshape(len(frames), case["horizon"], 6)
    for table, numbers, future in zip(given, wanted, futures, strict=True):
        assert list(table.columns) == ["open", "high", "low", "close", "volume", "amount"]
        assert (table.index == pd.DatetimeIndex(future)).all()
        scale = np.abs(wanted).max(axis=(0, 1)).clip(1e-12)
        assert (np.abs(table.to_numpy() - numbers) / scale).max() <= 1e-4
    alone = predictor.predict(frames[0], pasts[0], futures[0], case["horizon"], **GREEDY)
    np.testing.assert_allclose(alone, given[0], rtol=1e-4, atol=1e-6)


# What may be passed --------------------------------------------------------------------


def test_times_of_any_kind(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    wanted = ask(predictor, frame, 4)
    past, future = frame.index[:-4], frame.index[-4:]
    for convert in (pd.Series, list, lambda index: [str(time) for time in index], np.array):
        given = predictor.predict(frame.iloc[:-4], convert(past), convert(future), 4, **GREEDY)
        pd.testing.assert_frame_equal(given, wanted, check_freq=False)
    shifted = pd.Series(past, index=np.arange(7, 7 + len(past)))  # a slice of a longer column keeps its labels
    pd.testing.assert_frame_equal(predictor.predict(frame.iloc[:-4], shifted, future, 4, **GREEDY), wanted)


def test_the_stamps_matter(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    moved = frame.set_axis(frame.index + pd.Timedelta("191D 5h"))
    how = {"top_k": 0, "sample_count": 4}
    torch.manual_seed(0)
    first = ask(predictor, frame, 4, **how)
    torch.manual_seed(0)
    assert not np.allclose(first, ask(predictor, moved, 4, **how))


def test_none_switches_the_filters_off(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    given = []
    for how in ({"top_k": None, "top_p": None}, {"top_k": 0, "top_p": 1.0}):
        torch.manual_seed(4)
        given.append(ask(predictor, frame, 5, **how))
    pd.testing.assert_frame_equal(*given)


@pytest.mark.parametrize("horizon", [32, 33, 70])
def test_horizons_beyond_the_context(predictor: KronosPredictor, horizon: int) -> None:
    given = ask(predictor, bars_frame(40 + horizon), horizon)
    assert given.shape == (horizon, 6)
    assert np.isfinite(given.to_numpy()).all()


def test_a_context_of_one_bar() -> None:
    predictor = KronosPredictor(tiny_network(), tiny_tokenizer(), device="cpu", max_context=1)
    assert ask(predictor, bars_frame(12), 3).shape == (3, 6)


def test_statistics_are_those_of_the_whole_history(predictor: KronosPredictor) -> None:
    """Bars before the last max_context are not read, but they move mean and deviation."""
    frame = bars_frame(90)
    louder = frame.copy()
    louder.iloc[:20, 4] *= 50
    assert not np.allclose(ask(predictor, frame, 4)["volume"], ask(predictor, louder, 4)["volume"])


def test_missing_volume_and_amount(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    past = frame.iloc[:-4]
    prices = past[["open", "high", "low", "close"]]
    nothing = prices.assign(volume=0.0, amount=0.0)
    pd.testing.assert_frame_equal(ask(predictor, frame, 4, prices), ask(predictor, frame, 4, nothing))
    # an amount without volume is not believed, as in the reference
    pd.testing.assert_frame_equal(
        ask(predictor, frame, 4, prices.assign(amount=past["amount"])), ask(predictor, frame, 4, nothing)
    )
    typical = past["volume"] * prices.mean(axis=1)
    pd.testing.assert_frame_equal(
        ask(predictor, frame, 4, past.drop(columns="amount")), ask(predictor, frame, 4, past.assign(amount=typical))
    )


def test_prices_below_zero_are_numbers_like_others(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    frame.iloc[:, :4] -= 60
    assert (frame.iloc[:, :4] < 0).all(axis=None)
    given = ask(predictor, frame, 4)
    assert (given["close"] < 0).all()


def test_columns_in_any_order_and_others_beside_them(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    other = frame[["amount", "close", "low", "open", "volume", "high"]].assign(symbol="X")
    pd.testing.assert_frame_equal(ask(predictor, frame, 4), ask(predictor, frame, 4, other.iloc[:-4]))


def test_integer_columns(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    frame["volume"] = frame["volume"].round()
    pd.testing.assert_frame_equal(
        ask(predictor, frame, 4, frame.iloc[:-4].astype({"volume": "int64"})), ask(predictor, frame, 4)
    )


def test_inputs_are_not_changed(predictor: KronosPredictor) -> None:
    frame = bars_frame(30).drop(columns="amount")
    before = frame.copy(deep=True)
    past, times = frame.iloc[:-4], pd.Series(frame.index)
    kept = times.copy(deep=True)
    predictor.predict_batch([past], [times[:-4]], [times[-4:]], 4, **GREEDY)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_series_equal(times, kept)
    assert "amount" not in past.columns


# What is refused --------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["close", "volume", "amount"])
def test_numbers_that_are_none(predictor: KronosPredictor, column: str, value: float) -> None:
    frame = bars_frame(30)
    frame.loc[frame.index[7], column] = value
    with pytest.raises(ValueError, match=rf"row 7 .*{frame.index[7]}.*'{column}'"):
        ask(predictor, frame, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a | {"x_timestamp": a["x_timestamp"][1:]}, "x_timestamp holds 25 times where 26"),
        (lambda a: a | {"y_timestamp": a["y_timestamp"][:-1]}, "y_timestamp holds 3 times where 4"),
        (lambda a: a | {"pred_len": 5}, "y_timestamp holds 4 times where 5"),
        (lambda a: a | {"pred_len": 0}, "pred_len must be at least 1"),
        (lambda a: a | {"sample_count": 0}, "sample_count must be at least 1"),
        (lambda a: a | {"T": 0.0}, "temperature"),
        (lambda a: a | {"top_p": 0.0}, "top_p"),
        (lambda a: a | {"top_k": -1}, "top_k"),
        (lambda a: a | {"df": a["df"].drop(columns=["low"])}, "no column for low"),
        (lambda a: a | {"df": a["df"].assign(close="x")}, "'close' holds something that is not a number"),
        (lambda a: a | {"df": a["df"].iloc[:0]}, "empty"),
        (lambda a: a | {"df": a["df"].to_numpy()}, "DataFrame"),
    ],
)
def test_arguments_that_do_not_fit(predictor: KronosPredictor, change: Any, words: str) -> None:
    frame = bars_frame(30)
    arguments: dict[str, Any] = {
        "df": frame.iloc[:-4],
        "x_timestamp": frame.index[:-4],
        "y_timestamp": frame.index[-4:],
        "pred_len": 4,
        **GREEDY,
    }
    with pytest.raises((BarsError, ConfigError), match=words) as caught:
        predictor.predict(**change(arguments))
    assert "\n" not in str(caught.value)


def test_batches_that_do_not_fit(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    past, x, y = frame.iloc[:-4], frame.index[:-4], frame.index[-4:]
    with pytest.raises(BarsError, match="empty"):
        predictor.predict_batch([], [], [], 4)
    with pytest.raises(ConfigError, match="2, 1 and 2"):
        predictor.predict_batch([past, past], [x], [y, y], 4)
    bad = past.copy()
    bad.iloc[3, 1] = np.nan
    with pytest.raises(BarsError, match=r"df_list\[1\].*row 3.*'high'"):
        predictor.predict_batch([past, bad], [x, x], [y, y], 4)


# Behaviour --------------------------------------------------------------------


def test_a_batch_of_mixed_lengths_is_its_parts(predictor: KronosPredictor) -> None:
    frames = [bars_frame(rows, seed=rows) for rows in (30, 24, 60, 30)]
    given = predictor.predict_batch(
        [f.iloc[:-4] for f in frames], [f.index[:-4] for f in frames], [f.index[-4:] for f in frames], 4, **GREEDY
    )
    assert isinstance(given, list)
    for table, frame in zip(given, frames, strict=True):
        pd.testing.assert_frame_equal(table, ask(predictor, frame, 4), rtol=1e-4)


def test_torch_s_seed_makes_a_call_repeatable(predictor: KronosPredictor) -> None:
    frame, how = bars_frame(30), {"top_k": 0, "sample_count": 3}
    torch.manual_seed(11)
    first, second = ask(predictor, frame, 6, **how), ask(predictor, frame, 6, **how)
    torch.manual_seed(11)
    again = ask(predictor, frame, 6, **how)
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first, second)


def test_samples_are_averaged(predictor: KronosPredictor) -> None:
    """The mean of many samples is steadier than one, and lies where their mean lies."""
    frame, how = bars_frame(30), {"top_k": 0}
    torch.manual_seed(0)
    few = np.stack([ask(predictor, frame, 2, sample_count=1, **how).to_numpy() for _ in range(60)])
    many = np.stack([ask(predictor, frame, 2, sample_count=25, **how).to_numpy() for _ in range(12)])
    deviation = few.std(axis=0)
    assert (deviation > 0).all()
    assert (many.std(axis=0) < 0.5 * deviation).all()
    assert (np.abs(many.mean(axis=0) - few.mean(axis=0)) < 4.5 * deviation / 60**0.5).all()


def test_verbose_is_silent_where_nobody_looks(predictor: KronosPredictor, capfd: pytest.CaptureFixture[str]) -> None:
    ask(predictor, bars_frame(30), 4, verbose=True)
    assert capfd.readouterr() == ("", "")


def test_verbose_draws_a_meter_on_a_terminal(predictor: KronosPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    ask(predictor, bars_frame(30), 4, verbose=True)
    assert "4/4" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def test_models_are_put_into_evaluation_mode() -> None:
    network = tiny_network(ffn_dropout_p=0.5, resid_dropout_p=0.5, token_dropout_p=0.5).train()
    tokenizer = tiny_tokenizer().train()
    predictor = KronosPredictor(network, tokenizer, device="cpu", max_context=32)
    assert not network.training
    assert not tokenizer.training
    frame = bars_frame(30)
    pd.testing.assert_frame_equal(ask(predictor, frame, 4), ask(predictor, frame, 4))


def test_the_reference_s_positions_of_arguments(predictor: KronosPredictor) -> None:
    frame = bars_frame(30)
    past, x, y = frame.iloc[:-4], frame.index[:-4], frame.index[-4:]
    wanted = ask(predictor, frame, 4)
    pd.testing.assert_frame_equal(predictor.predict(past, x, y, 4, 1.0, 1, 1.0, 1, False), wanted)
    batch = predictor.predict_batch([past], [x], [y], 4, 1.0, 1, 1.0, 1, False)
    pd.testing.assert_frame_equal(batch[0], wanted)
    same = kronos.KronosPredictor(predictor.model, predictor.tokenizer, "cpu", 32, 5)
    pd.testing.assert_frame_equal(ask(same, frame, 4), wanted)


def test_clip_is_used() -> None:
    frame = bars_frame(30)
    frame.iloc[10, 4] = 1e5  # an outlier beyond 4 deviations
    clips = [KronosPredictor(tiny_network(), tiny_tokenizer(), device="cpu", clip=clip) for clip in (5, 0.5)]
    assert not np.allclose(*(ask(one, frame, 4) for one in clips))
