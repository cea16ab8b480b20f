"""Planted leaks are caught, each by its wire, and honest forecasters of honest bars trip none."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contenders import SIGMA, Listener, Recent, Walker, contestant, put, walk
from kronos.bars import Forecaster, canonical
from kronos.data import Series
from kronos.evaluate.benchmark.chunks import Ask
from kronos.evaluate.benchmark.controls import try_pipeline
from kronos.evaluate.benchmark.finding import find_origins
from kronos.evaluate.benchmark.material import Material, altered, rereader, some_of
from kronos.evaluate.benchmark.origins import Origin
from kronos.evaluate.benchmark.results import read_results
from kronos.evaluate.benchmark.runner import run
from kronos.evaluate.benchmark.shelves import Shelf, as_series
from kronos.evaluate.benchmark.task import Task
from kronos.evaluate.benchmark.tripwires import try_contestant

ASK = Ask(24, 60, 0, (1, 6, 12, 24), None)
WIRES = ["future", "shuffled", "mirrored", "lagged"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Markets from quiet to wild."""
    folder = tmp_path_factory.mktemp("bars")
    frames = {f"m__s{i}_1h": walk(700, i, SIGMA * 1.6 ** (i - 2)) for i in range(5)}
    return put(folder, **frames)


@pytest.fixture(scope="module")
def origins(place: Path) -> list[Origin]:
    task = Task.of({"data": [str(place)], "lookback": 110, "origins": 5})
    return some_of(find_origins(task).origins, 12)


@pytest.fixture(scope="module")
def material(origins: Sequence[Origin]) -> Material:
    return Material.of(origins, as_series)


def tripped(forecaster: Forecaster, material: Material) -> list[str]:
    """The wires that a forecaster trips."""
    found = try_contestant("x", forecaster, material, ASK)
    assert [one["wire"] for one in found] == WIRES
    assert all(one["model"] == "x" and one["sentence"] for one in found)
    return [one["wire"] for one in found if not one["passed"]]


class Peeks(Walker):
    """It has a table of closes that it should not have, and says what comes, give or take a little."""

    name = "peeks"

    def __init__(self, closes: "pd.Series[float]", share: float = 0.3, late: int = 0) -> None:
        super().__init__()
        self.closes, self.share, self.late = closes, share, late

    def moves(self, frame: pd.DataFrame, samples: int, horizon: int, random: np.random.Generator) -> np.ndarray:
        noise = super().moves(frame, samples, horizon, random)
        first = int(self.closes.index.searchsorted(frame.index[-1])) + self.late
        came = np.log(self.closes.to_numpy()[first : first + horizon + 1])
        assert len(came) == horizon + 1
        found: np.ndarray = (came[1:] - came[0]) + self.share * noise
        return found


# Honest ones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [Walker, Recent, partial(Recent, 20), partial(Recent, 100, 0.3), partial(Recent, 100, 3.0)]
)
def test_honest_forecasters_good_and_bad_trip_nothing(make: Callable[[], Forecaster], material: Material) -> None:
    assert tripped(make(), material) == []


def test_honest_bars_trip_nothing(origins: Sequence[Origin], material: Material) -> None:
    found = {one["wire"]: one for one in try_pipeline(origins, material, as_series, ASK)}
    assert list(found) == ["loader", "told", "known"]
    assert all(one["passed"] and one["model"] == "pipeline" for one in found.values())
    assert found["told"]["figure"] < 1e-6
    assert found["known"]["figure"] > 0.5


def test_chance_does_not_trip() -> None:
    """Two runs of three honest forecasters over markets that are all alike, where differences are chance alone."""
    for seed in range(2):
        frames = [walk(160, 100 * seed + i, start=f"2024-01-{2 * i + 1:02}") for i in range(8)]
        series = [Series.of(frame, f"s{i}_1h") for i, frame in enumerate(frames)]
        some = [origin_of(one, number) for number, one in enumerate(series)]
        stuff = Material.of(some, as_series)
        for make in (Recent, partial(Recent, 20), partial(Walker, 2 * SIGMA)):
            assert tripped(make(), stuff) == []


def origin_of(series: Series, number: int) -> Origin:
    shelf = Shelf(series.name, series.symbol, series.frame, timeframe=series.timeframe)
    return Origin(number, series.name, "m", series.symbol, "1h", series.times, series.bars, 26, 110, shelf)


# Forecasters that see the future --------------------------------------------------------------------------------------


def test_one_that_reads_ahead_in_a_shared_frame_is_caught(place: Path) -> None:
    """Whoever loads the bars leaves them where a forecaster finds them: changed bars change its forecasts."""
    shared: dict[int, pd.Series[float]] = {}

    def careless(shelf: Shelf, frame: pd.DataFrame) -> Series:
        series = as_series(shelf, frame)
        shared[0] = series.frame()["close"]
        return series

    class Finds(Peeks):
        def __init__(self) -> None:
            Walker.__init__(self)
            self.share, self.late = 3.0, 0  # what it sees it hides well

        def moves(self, frame: pd.DataFrame, *rest: Any) -> np.ndarray:
            self.closes = shared[0]
            return super().moves(frame, *rest)

    task = Task.of({"data": [str(place)], "symbols": ["s2"], "lookback": 110, "origins": 1})
    some = find_origins(task, prepare=careless).origins
    stuff = Material.of(some, careless)
    (future,) = try_contestant("x", Finds(), stuff, ASK, rereader(some, careless))
    assert not future["passed"]
    assert future["sentence"].startswith("1 of 1 forecasts change when the bars after their origins do")
    assert try_contestant("x", Walker(), stuff, ASK, rereader(some, careless))[0]["passed"]


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_one_that_has_the_files_is_caught_though_it_looks_repeatable(
    share: float, origins: Sequence[Origin], material: Material
) -> None:
    closes = {float(one.past()["close"].iloc[-1]): one.shelf.read()["close"] for one in origins}

    class Reads(Peeks):
        def moves(self, frame: pd.DataFrame, *rest: Any) -> np.ndarray:
            nearest = min(closes, key=lambda close: abs(close - float(frame["close"].iloc[-1])))
            self.closes = closes[nearest]
            return super().moves(frame, *rest)

    assert "mirrored" in tripped(Reads(closes[next(iter(closes))], share), material)


def test_one_whose_truth_is_a_horizon_late_is_caught() -> None:
    frame = walk(2000, 9)
    series = Series.of(frame, "s_1h")
    cuts = [series.cut(at - 134, at + 24) for at in range(200, 1900, 110)]
    some = [replace(origin_of(one, n), before=24) for n, one in enumerate(cuts)]
    one = Peeks(frame["close"], 0.3, late=24)
    assert tripped(one, Material.of(some, as_series)) == ["lagged"]


def test_one_that_gives_other_paths_each_time_is_caught(material: Material) -> None:
    class Restless(Walker):
        count = 0

        def moves(self, frame: pd.DataFrame, samples: int, horizon: int, random: np.random.Generator) -> np.ndarray:
            Restless.count += 1
            return super().moves(frame, samples, horizon, np.random.default_rng(Restless.count))

    (future, *_) = try_contestant("x", Restless(), material, ASK)
    assert not future["passed"]
    assert "12 of 12 forecasts are others when they are made again from the same bars" in future["sentence"]


def test_forecasts_that_fit_other_origins_better_are_out_of_step() -> None:
    """Quiet markets get the forecasts of wild ones and the other way round, as where two lists are out of step."""
    sigmas = [0.002, 0.05] * 8
    frames = [walk(160, i, sigma, start=f"2024-01-{i + 1:02}") for i, sigma in enumerate(sigmas)]
    series = [Series.of(frame, f"s{i}_1h") for i, frame in enumerate(frames)]

    class Swaps(Walker):
        def moves(self, frame: pd.DataFrame, samples: int, horizon: int, random: np.random.Generator) -> np.ndarray:
            quiet = np.diff(np.log(frame["close"].to_numpy())).std() < SIGMA
            found: np.ndarray = sigmas[int(quiet)] * random.normal(size=(samples, horizon)).cumsum(axis=1)
            return found

    stuff = Material.of([origin_of(one, number) for number, one in enumerate(series)], as_series)
    assert tripped(Swaps(), stuff) == ["shuffled"]
    assert tripped(Recent(), stuff) == []


# Bars that leak -------------------------------------------------------------------------------------------------------


def smoothed(shelf: Shelf, frame: pd.DataFrame) -> Series:
    """Closes are means of three bars, of which one is to come."""
    frame = frame.copy()
    frame["close"] = frame["close"].rolling(3, center=True, min_periods=1).mean()
    frame["high"], frame["low"] = frame[["high", "close"]].max(axis=1), frame[["low", "close"]].min(axis=1)
    return as_series(shelf, canonical(frame))


def scaled(shelf: Shelf, frame: pd.DataFrame) -> Series:
    """Prices are divided by the mean of the whole series."""
    frame = frame.copy()
    frame[["open", "high", "low", "close"]] /= frame["close"].mean()
    return as_series(shelf, frame)


def test_a_loader_that_looks_ahead_is_caught_and_the_results_are_marked(place: Path, tmp_path: Path) -> None:
    few = {"symbols": ["s1", "s2", "s3"], "lookback": 110, "origins": 1, "samples": 20, "metrics": ["crps"]}
    task = Task.of({"data": [str(place)], **few})
    heard = Listener()
    found = run(task, [contestant("r", Recent)], tmp_path / "out", prepare=smoothed, reporter=heard)
    (loader, *_) = found.failed_tripwires
    assert (loader["model"], loader["wire"], loader["figure"]) == ("pipeline", "loader", 1.0)
    assert "3 of 3 look-backs change" in loader["sentence"]
    assert "TRIPPED: pipeline, loader" in heard.text
    assert found.summary()["r"]["tripped"] == 1.0
    assert read_results(tmp_path / "out").failed_tripwires[0]["wire"] == "loader"


def test_a_normaliser_of_the_whole_series_is_caught(place: Path) -> None:
    task = Task.of({"data": [str(place)], "symbols": ["s1"], "lookback": 110, "origins": 2})
    some = find_origins(task, prepare=scaled).origins
    found = try_pipeline(some, Material.of(some, scaled), scaled, ASK)
    assert [one["wire"] for one in found if not one["passed"]] == ["loader"]


class Known(Origin):
    """Its labels are bars that are known already."""

    def truth(self) -> np.ndarray:
        return self.past_candles()[-24:]


class Late(Origin):
    """Its labels are one bar late."""

    def truth(self) -> np.ndarray:
        first = self.before + self.lookback
        return self.bars[first - 1 : first + 23].copy()


@pytest.mark.parametrize(("kind", "wires"), [(Known, ["told", "known"]), (Late, ["told"])])
def test_labels_that_are_not_what_came_are_caught(
    kind: type[Origin], wires: list[str], origins: Sequence[Origin], material: Material
) -> None:
    wrong = [kind(**vars(one)) for one in origins]
    found = try_pipeline(wrong, material, as_series, ASK)
    assert [one["wire"] for one in found if not one["passed"]] == wires


def test_labels_in_another_order_are_caught(origins: Sequence[Origin], material: Material) -> None:
    class Swapped(Origin):
        def truth(self) -> np.ndarray:
            return truths[self.number]

    truths = {one.number: other.truth() for one, other in zip(origins, [*origins[1:], origins[0]], strict=True)}
    found = try_pipeline([Swapped(**vars(one)) for one in origins], material, as_series, ASK)
    assert "told" in [one["wire"] for one in found if not one["passed"]]


# What they are laid with ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", [None, "Asia/Shanghai"])
def test_altered_bars_are_candles_and_others_from_the_moment_on(zone: str | None) -> None:
    frame = walk(3000, 1)
    index = pd.DatetimeIndex(frame.index)
    moment = index[1000].to_numpy()
    frame.index = index if zone is None else index.tz_localize("UTC").tz_convert(zone)
    other = altered(frame, moment)
    canonical(other)
    assert other.index.equals(frame.index)
    assert other.iloc[:1000].equals(frame.iloc[:1000])
    assert (other.iloc[1000:] != frame.iloc[1000:]).all(axis=None)
    assert altered(frame, moment).equals(other)


def test_a_run_says_where_it_was_tried_and_may_leave_it_out(place: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data": [str(place)], "symbols": ["s1", "s2", "s3"], "lookback": 110, "origins": 2}
    settings |= {"samples": 20, "metrics": ["crps"]}
    heard = Listener()
    found = run(Task(**settings, tripwires=5), [contestant("w")], tmp_path / "a", reporter=heard)
    assert [(one["model"], one["wire"]) for one in found.tripwires] == [
        *(("pipeline", wire) for wire in ("loader", "told", "known")), *(("w", wire) for wire in WIRES)
    ]  # fmt: skip
    assert all(one["passed"] for one in found.tripwires)
    assert "tripwires: 7 of 7 hold, at 5 origins" in heard.lines
    none = run(Task(**settings, tripwires=0), [contestant("w")], tmp_path / "b", reporter=heard)
    assert none.tripwires == []
    assert "tripwires: none were set (tripwires: 0)" in heard.lines
    few = run(Task(**settings, most=2), [contestant("w")], tmp_path / "c")
    assert [one["wire"] for one in few.tripwires] == ["loader", "told", "known", "future"], "too few for the others"
