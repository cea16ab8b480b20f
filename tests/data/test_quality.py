"""Many series in one report: one at a time, exact sums, the verdict for scripts, JSON, text and pictures."""

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from kronos.bars.quality.inspection import inspect
from kronos.data.quality.pictures import plot_inspection, plot_report
from kronos.data.quality.report import Report, check
from kronos.errors import ConfigError
from reference import bars_frame

NOW = pd.Timestamp("2026-01-01", tz="UTC")


def good(rows: int = 400, **how: Any) -> pd.DataFrame:
    return bars_frame(rows, **how)


def warned() -> pd.DataFrame:
    bars = good()
    bars.iloc[100, 1] *= 3
    return bars.drop(bars.index[[200, 201]])


def broken() -> pd.DataFrame:
    bars = good()
    bars.iloc[[5, 6], 3] = np.nan
    return bars


def report() -> Report:
    series = [("good", good()), ("warned", warned()), ("broken", broken())]
    return Report.of(check(series, now=NOW))


def test_series_are_looked_at_one_after_another_and_let_go() -> None:
    alive: list[weakref.ref[pd.DataFrame]] = []

    def series() -> Iterator[tuple[str, pd.DataFrame]]:
        for number in range(5):
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 1  # the caller may still hold the last one
            bars = good(seed=number)
            alive.append(weakref.ref(bars))
            yield f"series {number}", bars
            del bars

    names = []
    for inspection in check(series(), now=NOW):
        names.append(inspection.name)
        assert len(alive) == len(names)  # nothing is read ahead
    assert names == [f"series {number}" for number in range(5)]


def test_timeframe_and_calendar_are_for_all_or_by_name() -> None:
    days = good(200, freq="1D").set_axis(pd.bdate_range("2023-01-02", periods=200))
    series = [("a", days), ("b", days)]
    both = list(check(series, calendar="24/7", timeframe="1d", now=NOW))
    assert [one.calendar for one in both] == ["24/7", "24/7"]
    one, other = check(series, calendar={"a": "24/7", "b": None}, now=NOW)
    assert (one.counts(), other.counts()) == ({"gap": 39}, {})
    assert other.calendar == "weekdays"


def test_the_sums_and_the_order() -> None:
    whole = report()
    assert [one.name for one in whole.worst()] == ["broken", "warned", "good"]
    assert [one.name for one in whole.worst(1)] == ["broken"]
    assert whole.counts() == {"missing_value": 2, "gap": 1, "bad_tick": 1}
    assert whole.severities() == {"error": 1, "warning": 1, "clean": 1}


@pytest.mark.parametrize(
    ("frames", "failed", "strict"),
    [([], False, False), ([good], False, False), ([good, warned], False, True), ([warned, broken], True, True)],
)
def test_the_verdict_for_scripts(frames: list[Any], failed: bool, strict: bool) -> None:
    whole = Report.of(check(((make.__name__, make()) for make in frames), now=NOW))
    assert whole.failed() is failed
    assert whole.failed(strict=True) is strict


def test_notes_fail_nothing() -> None:
    bars = good().assign(volume=np.nan, amount=np.nan)
    whole = Report.of(check([("no volume", bars)], now=NOW))
    assert whole.counts() == {"zero_volume": 1}
    assert not whole.failed(strict=True)


def test_json_is_whole_and_plain(tmp_path: Path) -> None:
    whole = report()
    text = whole.to_json(tmp_path / "report.json")
    tree = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert tree == json.loads(text) == whole.to_dict()
    assert tree["series"] == 3
    assert tree["rows"] == 1198
    worst = tree["inspections"][0]
    assert (worst["name"], worst["ok"], worst["findings"][0]["kind"]) == ("broken", False, "missing_value")
    assert worst["findings"][0]["first"] == good().index[5].isoformat()
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


def test_text_has_a_line_for_each_and_the_sums() -> None:
    lines = report().lines()
    assert len(lines) == 5
    assert lines[1].startswith("broken")
    assert "gap 1, bad_tick 1" in lines[2]
    assert lines[-1] == "3 series (1 error, 1 warning, 1 clean); found: missing_value 2, gap 1, bad_tick 1"
    short = report().lines(1)
    assert "2 more" in short[2]
    assert any("close is missing" in line for line in report().lines(details=2))
    assert Report().lines() == ["no series"]


def ink(path: Path) -> float:
    """The share of a picture that is not paper."""
    pixels = matplotlib.image.imread(path)
    return float((pixels[..., :3].min(axis=-1) < 0.9).mean())


def test_a_picture_of_a_series(tmp_path: Path) -> None:
    bars = warned()
    inspection = inspect(bars, now=NOW, name="BTC/USDT $ 比特币")
    plot_inspection(bars, inspection, tmp_path / "one.png")
    assert 0.01 < ink(tmp_path / "one.png") < 0.5
    plot_inspection(bars, inspection, tmp_path / "one.svg")
    assert "bad tick" in (tmp_path / "one.svg").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="png"):
        plot_inspection(bars, inspection, tmp_path / "one.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg"]


def damaged(rows: int, **how: Any) -> pd.DataFrame:
    bars = good(rows, **how)
    bars.iloc[rows // 3, :4] *= 4
    bars.iloc[rows // 2 :, :4] *= 0.5
    bars.iloc[rows // 4 : rows // 4 + 5, :4] = bars.iloc[rows // 4, 3]
    bars.iloc[rows // 5, 4] = np.nan
    return bars.iloc[[*range(rows), rows - 1]].drop(bars.index[rows // 6])


@pytest.mark.parametrize(
    "bars",
    [
        good(2),
        good(400).assign(volume=np.nan, amount=np.nan),
        good(60, tz="America/New_York"),
        good(60).assign(open=5.0, high=5.0, low=5.0, close=5.0),
        damaged(5000),
        damaged(100, freq="1D"),
        broken().iloc[::-1],
    ],
    ids=["two", "no-volume", "aware", "flat", "long", "days", "backwards"],
)
def test_any_series_can_be_drawn(tmp_path: Path, bars: pd.DataFrame) -> None:
    plot_inspection(bars, inspect(bars, now=NOW), tmp_path / "one.png")
    assert ink(tmp_path / "one.png") > 0.005


def test_nothing_to_draw(tmp_path: Path) -> None:
    bars = good(1)
    with pytest.raises(ConfigError, match="fewer than two"):
        plot_inspection(bars, inspect(bars, now=NOW), tmp_path / "one.png")
    with pytest.raises(ConfigError, match="no series"):
        plot_report(Report(), tmp_path / "none.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("series", [1, 3, 45])
def test_a_picture_of_a_report(tmp_path: Path, series: int) -> None:
    makers = [good, warned, broken]
    whole = Report.of(
        check(((f"{n} {'long name ' * (n % 9)}", makers[n % 3]().iloc[:250]) for n in range(series)), now=NOW)
    )
    plot_report(whole, tmp_path / "report.png")
    assert 0.01 < ink(tmp_path / "report.png") < 0.6
    height = matplotlib.image.imread(tmp_path / "report.png").shape[0]
    assert height < 1300  # no more than the worst forty


def test_no_series_at_all_leaves_the_sums() -> None:
    assert report().lines(0) == report().lines()[-1:]
    assert report().lines(0, details=3) == report().lines()[-1:]
