"""Outcomes: what was said and what came are kept rightly, whole, and never of something else."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kronos import Forecast
from kronos.bars.candles import CLOSE
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.evaluate import score_windows
from kronos.evaluate.benchmark.origins import Origin
from kronos.evaluate.benchmark.outcomes import SETTINGS_FILE, Outcomes, balanced, collect, score_outcomes
from kronos.evaluate.benchmark.shelves import Shelf
from reference import bars_frame

LOOKBACK, HORIZON = 110, 6


def origins(count: int = 70, market: str = "x", timeframe: str = "1h", first: int = 0) -> list[Origin]:
    frame = bars_frame(LOOKBACK + HORIZON * count, seed=first)
    shelf = Shelf("x/a", "a", lambda: frame)
    made = []
    for number in range(count):
        rows = slice(number * HORIZON, number * HORIZON + LOOKBACK + HORIZON)
        times = frame.index.to_numpy()[rows].astype("datetime64[ns]")
        place = (f"{market}/a_{timeframe}", market, "a", timeframe, times, frame.to_numpy()[rows].copy())
        made.append(Origin(first + number, *place, 0, LOOKBACK, shelf))
    return made


class Walk:
    """A random walk of the past's volatility that counts its calls, and can be told to fail."""

    name = "walk"

    def __init__(self, stops_after: int = 10**9, bad: Any = None) -> None:
        self.calls, self.stops_after, self.bad = 0, stops_after, bad
        self.asked: dict[str, Any] = {}

    def forecast(
        self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None, **more: Any
    ) -> Any:
        self.calls, self.asked = self.calls + 1, more
        if self.calls > self.stops_after:
            raise KeyboardInterrupt
        made = []
        for frame, times in zip(data, y_timestamp, strict=True):
            assert len(frame) == LOOKBACK
            if self.bad is not None and frame.index[-1] in self.bad:
                raise BarsError("I do not like this one")
            last, key = float(frame["close"].iloc[-1]), int(frame.index[-1].value) % 2**32
            sigma = np.diff(np.log(frame["close"])).std()
            shocks = np.random.default_rng([seed, key]).normal(0, sigma, (samples, horizon))
            closes = last * np.exp(shocks.cumsum(axis=1))
            paths = np.stack([closes] * 4 + [np.ones_like(closes)] * 2, axis=-1)
            made.append(
                Forecast(paths, times, last, history=frame, meta={"model": "walk", "T": 1.0, "calls": self.calls})
            )
        return made


def same(one: Outcomes, other: Outcomes) -> bool:
    names = [name for name in vars(one) if name not in ("steps", "facts")]
    return one.steps == other.steps and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def test_what_was_said_and_what_came(tmp_path: Path) -> None:
    some = origins(40)
    found = collect(Walk(), some, tmp_path, steps=(1, 3, 99), samples=20, seed=4, options={"T": 1.0})
    assert found.steps == (1, 3, HORIZON)
    assert found.moves.shape == (40, 20, 3)
    one = some[33]
    said = Walk().forecast([one.past()], HORIZON, samples=20, seed=4, y_timestamp=[one.future_times()])[0]
    np.testing.assert_allclose(found.moves[33], said.returns()[:, [0, 2, 5]], rtol=1e-6)
    last = one.past_candles()[-1, CLOSE]
    np.testing.assert_allclose(found.came[33], np.log(one.truth()[[0, 2, 5], CLOSE] / last))
    np.testing.assert_allclose(found.closes[33] * last, one.past_candles()[-101:, CLOSE])
    assert (found.series[0], found.market[0], found.asset[0], found.timeframe[0]) == ("x/a_1h", "x", "a", "1h")
    assert found.time[33] == one.future_times()[0].to_datetime64()
    assert found.until[33] == one.future_times()[-1].to_datetime64()
    assert found.facts == {"model": "walk", "T": 1.0}  # what all say alike


def test_scores_are_those_of_score_windows(tmp_path: Path) -> None:
    from kronos.data import Series, Windows

    frame = bars_frame(LOOKBACK + 8 * HORIZON, seed=0)
    windows = Windows([Series.of(frame, "x/a_1h", timeframe="1h")], LOOKBACK, HORIZON)
    numbers = np.arange(8) * HORIZON
    wanted = score_windows(Walk(), windows, numbers, samples=30, seed=2, steps=(1, 6))
    figures = score_outcomes(collect(Walk(), origins(8), tmp_path, steps=(1, 6), samples=30, seed=2))
    for name in ("crps", "crps_6", "cover50", "cover90", "brier"):
        np.testing.assert_allclose(figures[name], wanted[name], rtol=1e-5, err_msg=name)


def test_killed_in_the_middle_it_goes_on_with_the_same_result(tmp_path: Path) -> None:
    some = origins()
    whole = collect(Walk(), some, tmp_path / "whole", samples=20)
    with pytest.raises(KeyboardInterrupt):
        collect(Walk(stops_after=1), some, tmp_path / "part", samples=20)
    assert len(list((tmp_path / "part").glob("part-*.npz"))) == 1
    again = Walk()
    assert same(collect(again, some, tmp_path / "part", samples=20), whole)
    assert again.calls == 2  # of three batches one was there
    assert same(collect(Walk(stops_after=0), some, tmp_path / "part", samples=20), whole)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    collect(Walk(), origins(10), tmp_path, samples=20)
    for other, how, what in (
        (origins(10), {"samples": 30}, "samples was 20 and is now 30"),
        (origins(10), {"samples": 20, "options": {"T": 0.9}}, "options"),
        (origins(10, first=3), {"samples": 20}, "bars"),
    ):
        with pytest.raises(ConfigError, match=what):
            collect(Walk(), other, tmp_path, **how)
    next(tmp_path.glob("part-*.npz")).write_bytes(b"no")
    with pytest.raises(SourceError, match="delete it"):
        collect(Walk(), origins(10), tmp_path, samples=20)
    (tmp_path / SETTINGS_FILE).write_text("no")
    with pytest.raises(SourceError, match="cannot be read"):
        collect(Walk(), origins(10), tmp_path, samples=20)


def test_origins_at_which_it_fails_are_left_out(tmp_path: Path) -> None:
    some = origins(40)
    bad = {one.past().index[-1] for one in some[5:7]}
    found = collect(Walk(bad=bad), some, tmp_path / "a", samples=20)
    whole = collect(Walk(), some, tmp_path / "b", samples=20)
    assert same(found, whole.at(~np.isin(np.arange(40), (5, 6))))
    everything = {one.past().index[-1] for one in some}
    with pytest.raises(BarsError, match="no forecast at any of 40"):
        collect(Walk(bad=everything), some, tmp_path / "c", samples=20)
    with pytest.raises(ConfigError, match="needs origins"):
        collect(Walk(), [], tmp_path / "d")


def test_parts_share_no_time(tmp_path: Path) -> None:
    found = collect(Walk(), [*origins(30), *origins(30, "y", first=30)], tmp_path, samples=20)
    early, late = found.split(0.3)
    assert early.until.max() < late.time.min()
    assert len(late) == pytest.approx(0.3 * 60, abs=2)
    assert len(early) + len(late) <= 60
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            found.split(share)
    with pytest.raises(BarsError, match="cannot be split"):
        found.at(np.array([0])).split(0.5)


def test_cells_are_taken_alike() -> None:
    some = [*origins(40), *origins(5, "y", first=40), *origins(30, "x", "4h", first=45)]
    chosen = balanced(some, 35)
    counts = pd.Series([f"{one.market}/{one.timeframe}" for one in chosen]).value_counts().to_dict()
    assert counts == {"x/1h": 15, "x/4h": 15, "y/1h": 5}
    assert [one.number for one in chosen] == sorted({one.number for one in chosen})
    assert balanced(some, 1000) == some
