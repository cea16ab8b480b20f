"""Charts: drawn for every kind of forecast, labelled with the right times, written whole, leaving nothing behind."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kronos.bars.candles import COLUMNS
from kronos.bars.forecast import Forecast
from kronos.bars.plot_labels import drawable, heading_fonts, time_labels, time_ticks
from kronos.errors import ConfigError


def times_of(kind: str, bars: int) -> pd.DatetimeIndex:
    if kind == "daily":
        return pd.date_range("2024-01-02", periods=bars, freq="B", name="timestamp")
    if kind == "hourly":
        return pd.date_range("2024-01-02 03:00", periods=bars, freq="1h", tz="UTC", name="timestamp")
    opens = [*range(570, 690, 5), *range(780, 900, 5)]
    days = pd.date_range("2024-01-02", periods=bars // len(opens) + 1, freq="B", tz="Asia/Shanghai")
    stamps = [day + pd.Timedelta(minutes=minute) for day in days for minute in opens]
    return pd.DatetimeIndex(stamps[:bars], name="timestamp")


def make(
    kind: str = "hourly",
    history: int = 80,
    horizon: int = 12,
    samples: int = 20,
    scale: float = 1.0,
    volume: float = 9.0,
) -> tuple[Forecast, pd.DataFrame]:
    rng = np.random.default_rng(0)
    times = times_of(kind, history + horizon)
    start = scale * np.exp(rng.normal(0, 0.01, (samples + 1, history + horizon + 1)).cumsum(axis=1))
    start[:, : history + 1] = start[0, : history + 1]
    close, start = start[:, 1:], start[:, :-1]
    high, low = np.maximum(start, close) * 1.003, np.minimum(start, close) * 0.997
    traded = volume * rng.lognormal(0, 1, close.shape)
    candles = np.stack([start, high, low, close, traded, traded * close], axis=-1)
    frame = pd.DataFrame(candles[0], index=times, columns=list(COLUMNS))
    past = frame.iloc[:history] if history else None
    last = float(start[0, history])
    return Forecast(candles[1:, history:], times[history:], last, past, "BTC/USDT", "1h"), frame.iloc[history:]


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def labels_of(figure: Figure) -> list[str]:
    axis = figure.axes[-1].xaxis
    return axis.get_major_formatter().format_ticks(list(axis.get_major_locator()()))


@pytest.mark.parametrize(
    "case",
    [
        {"kind": "daily"},
        {"kind": "session"},
        {"history": 0},
        {"horizon": 1, "samples": 1},
        {"history": 0, "horizon": 1, "samples": 1},
        {"volume": 0.0},
        {"scale": 1e-6},
        {"scale": 1e6},
        {"history": 400, "horizon": 120, "samples": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("truth", [False, True])
def test_every_kind_of_forecast_is_drawn(tmp_path: Path, case: dict[str, Any], truth: bool) -> None:
    forecast, future = make(**case)
    figure = forecast.plot(tmp_path / "x.png", truth=future if truth else None)
    assert len(figure.axes) == (1 if case.get("volume") == 0.0 else 2)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert ("truth" in [text.get_text() for text in figure.legends[0].get_texts()]) == truth
    low, high = figure.axes[0].get_ylim()
    assert low < future["close"].min() if truth else low < high


def test_it_says_what_it_shows() -> None:
    forecast, _ = make(scale=100.0)
    figure = forecast.plot()
    assert "BTC/USDT 1h" in words(figure)
    assert "20 paths × 12 bars" in words(figure)
    assert f"last close {forecast.last_close:,.2f}"[:14] in words(figure)
    assert f"P(up) {forecast.prob_up().iloc[-1]:.0%}" in words(figure)
    assert "mine $x" in words(forecast.plot(title="mine $x"))


# Whatever is not drawable would warn, and warnings are errors here.
@pytest.mark.parametrize("name", ["贵州茅台", "a\tb", "🚀👨‍👩‍👧", "é̂", "\udce4.csv", "\x00", "سهم"], ids=ascii)
def test_a_name_in_any_script_is_written_without_a_warning(tmp_path: Path, name: str) -> None:
    forecast, _ = make()
    forecast.plot(tmp_path / "x.png", title=f"{name} 1h")
    forecast.plot(tmp_path / "x.svg", title=f"{name} 1h")


def test_what_no_font_has_becomes_a_question_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kronos.bars.plot_labels._FONTS", ("DejaVu Sans",))  # as on a bare machine
    forecast, _ = make()
    figure = forecast.plot(tmp_path / "x.png", title="贵州茅台 Ωé $x$ 1h")
    assert "???? Ωé $x$ 1h" in words(figure)
    assert drawable("a\tb\nc🚀\ufe0f", heading_fonts()) == "a b\nc?\ufe0f"
    assert drawable("é€\x00", heading_fonts(), weight="bold") == "é€"


def test_bars_leave_no_gap_and_labels_have_the_bars_own_time() -> None:
    forecast, _ = make("session", history=96, horizon=48)
    figure = forecast.plot(history_bars=96)
    axis = figure.axes[-1].xaxis
    assert forecast.history is not None
    times = forecast.history.index.append(forecast.timestamps)
    places = [int(place) for place in axis.get_major_locator()()]
    labels = labels_of(figure)
    assert 3 <= len(places) <= 9
    for place, label in zip(places, labels, strict=True):
        assert label.startswith(f"{times[place]:%H:%M}")
    dated = [label for label in labels if "2024" in label]
    assert [label.split("\n")[1] for label in dated] == ["2 Jan 2024", "3 Jan 2024", "4 Jan 2024"]
    assert figure.axes[0].get_xlim() == (-0.8, 143.8)


def test_daily_bars_are_labelled_by_day() -> None:
    forecast, _ = make("daily", history=30, horizon=5)
    assert all(label.split("\n")[0].split()[1] in ("Jan", "Feb") for label in labels_of(forecast.plot()))
    long, _ = make("daily", history=240, horizon=90)
    labels = labels_of(long.plot(history_bars=240))
    assert labels[0].split("\n") == ["Apr", "2024"]
    assert [label.split("\n")[0] for label in labels] == ["Apr", "Jul", "Oct", "Jan", "Apr"]


@pytest.mark.parametrize(
    ("step", "bars", "first"),
    [(1, 5, "09:29:58\n2 Jan 2024"), (1, 60, "09:30:00\n2 Jan 2024"), (15, 90, "09:30:13\n2 Jan 2024")],
)
def test_bars_of_seconds_show_their_seconds(step: int, bars: int, first: str) -> None:
    times = pd.date_range("2024-01-02 09:29:58", periods=bars, freq=f"{step}s")
    places, unit = time_ticks(times.to_numpy("datetime64[s]"))
    labels = time_labels(times[places], unit)
    assert labels[0] == first
    assert len(set(labels)) == len(labels)
    assert [label.split("\n")[0] for label in labels] == times[places].strftime("%H:%M:%S").tolist()


def test_the_heading_of_bars_of_seconds_says_when_they_end() -> None:
    forecast, _ = make(history=0, horizon=4)
    for step, end in (("15s", "2024-01-02 09:30:45 "), ("1min", "2024-01-02 09:33 "), ("1D", "2024-01-05 ")):
        times = pd.date_range("2024-01-02" if step == "1D" else "2024-01-02 09:30", periods=4, freq=step)
        assert f"to {end}" in words(Forecast(forecast.paths, times, forecast.last_close).plot())


def test_history_bars_cuts_the_history() -> None:
    forecast, _ = make(history=80, horizon=12)
    assert forecast.plot(history_bars=10).axes[0].get_xlim()[1] == pytest.approx(21.8)
    assert forecast.plot(history_bars=500).axes[0].get_xlim()[1] == pytest.approx(91.8)
    with pytest.raises(ConfigError, match="history_bars"):
        forecast.plot(history_bars=0)


def test_truth_is_matched_by_time_or_else_by_order() -> None:
    forecast, future = make()
    part = future["close"].iloc[3:5]
    for truth, first in ((part, 3), (part.reset_index(drop=True), 0)):
        axes = forecast.plot(truth=truth).axes[0]
        line = next(line for line in axes.lines if line.get_label() == "truth")
        drawn = np.asarray(line.get_ydata(), dtype=float)
        assert drawn[0] == forecast.last_close
        assert np.flatnonzero(~np.isnan(drawn[1:])).tolist() == [first, first + 1]
    with pytest.raises(ConfigError, match="time zone"):
        forecast.plot(truth=future["close"].tz_localize(None))
    with pytest.raises(ConfigError, match="'close'"):
        forecast.plot(truth=future[["open"]])


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str, start: bytes) -> None:
    forecast, _ = make()
    forecast.plot(tmp_path / f"x{suffix}")
    assert (tmp_path / f"x{suffix}").read_bytes().startswith(start)


def test_an_unknown_format_and_a_failed_write_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forecast, _ = make()
    with pytest.raises(ConfigError, match=r"x\.bmp"):
        forecast.plot(tmp_path / "x.bmp")

    def fail(*args: object, **more: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        forecast.plot(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_pyplot_never_hears_of_it() -> None:
    before = plt.get_fignums()
    make()[0].plot()
    assert plt.get_fignums() == before
