"""Rolling scores: right in expectation where the process is known, blind to the future, spread evenly, repeatable."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronos import Forecast, Forecaster
from kronos.bars.candles import CLOSE
from kronos.data import Series, Windows
from kronos.errors import BarsError, ConfigError
from kronos.evaluate import Trials, choose_origins, coverage, crps_gaussian, paired, score_windows, summary
from kronos.evaluate.metrics.distribution import interval
from kronos.evaluate.metrics.probability import uniformity
from reference import bars_frame

SIGMA = 0.01
UNIT = 1.013  # what sigma over the deviation of 100 draws is on average


def candles(closes: np.ndarray, before: float) -> np.ndarray:
    """Flat-bodied candles (..., H, 6) of closes (..., H)."""
    opens = np.concatenate([np.full_like(closes[..., :1], before), closes[..., :-1]], axis=-1)
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    return np.stack([opens, high, low, closes, np.ones_like(closes), closes], axis=-1)


def walk(rows: int, seed: int, name: str = "walk", sigma: float = SIGMA, start: str = "2024-01-01") -> Series:
    """A series whose log closes are a Gaussian random walk."""
    shocks = np.random.default_rng(seed).normal(0, sigma, rows)
    index = pd.date_range(start, periods=rows, freq="1h", name="timestamp")
    columns = ["open", "high", "low", "close", "volume", "amount"]
    return Series.of(pd.DataFrame(candles(50 * np.exp(shocks.cumsum()), 50.0), index=index, columns=columns), name)


class Walker:
    """A random walk of known volatility: for such series the true distribution. It keeps what it was given."""

    name = "walker"

    def __init__(self, sigma: float = SIGMA, drift: float = 0.0) -> None:
        self.sigma, self.drift = sigma, drift
        self.calls: list[list[pd.DataFrame]] = []
        self.made: list[Forecast] = []

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        self.calls.append(list(data))
        found = []
        for frame, times in zip(data, y_timestamp, strict=True):
            last = float(frame["close"].iloc[-1])
            key = int(frame.index[-1].value) % 2**32  # numbers that belong to the series, not to its place in the list
            shocks = np.random.default_rng([seed, key]).normal(self.drift, self.sigma, (samples, horizon))
            paths = candles(last * np.exp(shocks.cumsum(axis=1)), last)
            found.append(Forecast(paths, times, last, history=frame))
        self.made += found
        return found


def figures_of(walker: Walker, *, count: int = 400, **how: Any) -> dict[str, np.ndarray]:
    windows = Windows([walk(24 * 80 + 160, seed, f"m/w{seed}_1h") for seed in range(5)], 110, 24)
    return score_windows(walker, windows, count, **how)


# In expectation -------------------------------------------------------------------------------------------------------


def test_the_true_process_scores_as_theory_says() -> None:
    walker = Walker()
    assert isinstance(walker, Forecaster)
    found = figures_of(walker, samples=40)
    told = summary(found)
    assert told["origins"] == 400
    # E|X - Y| - E|X - X'| / 2 = sigma / sqrt(pi), in a unit that is the deviation of 100 draws
    expected = UNIT / np.sqrt(np.pi)
    for name in ("crps", "crps_1", "crps_6", "crps_12", "crps_24"):
        assert abs(told[name] - expected) < 4 * told[f"{name}_se"], name
        assert told[f"{name}_se"] < 0.03
    assert told["cover50"] == pytest.approx(0.5, abs=0.04)
    assert told["cover90"] == pytest.approx(0.9, abs=0.025)
    low, high = interval(np.random.default_rng(0).standard_normal((40, 20_000)), 0.9)
    assert told["width90"] == pytest.approx(UNIT * (high - low).mean(), rel=0.04)
    assert abs(told["bias"]) < 4 * told["bias_se"]
    assert told["direction"] == pytest.approx(0.5, abs=0.08)
    # the mean over the steps of 100 sigma sqrt(h) sqrt(2 / pi)
    assert told["mae"] == pytest.approx(100 * SIGMA * np.sqrt(2 / np.pi) * np.mean(np.sqrt([1, 6, 12, 24])), rel=0.08)
    promises_are_kept(found, told, samples=40)
    # the deviation of 20 draws is off by a factor of mean .962 and variance .0246, which costs .0037
    worse, error = paired(found, found, "hv20_crps", "crps")
    assert abs(worse - 0.0037) < 4 * error < 0.02


def promises_are_kept(found: dict[str, np.ndarray], told: dict[str, float], samples: int) -> None:
    """Whoever knows the process says every probability as often as it comes true."""
    for share in (50, 80, 90, 95):
        for name in (f"cover{share}", *(f"cover{share}_{h}" for h in (1, 6, 12, 24))):
            assert abs(told[name] - share / 100) < 4 * told[f"{name}_se"] + 0.005, name
    for h in (1, 6, 12, 24):
        assert abs(told[f"pit_{h}"] - 0.5) < 4 * told[f"pit_{h}_se"]
        assert uniformity(found[f"pit_{h}"]).p > 1e-3
        difference, error = paired(found, found, f"up_{h}", f"rose_{h}")
        assert abs(difference) < 4 * error
    assert told["brier"] == pytest.approx(0.25 * (1 + 1 / samples), abs=0.01)  # a coin, said with an error
    for way in ("up", "down"):  # probabilities are counted as (k + 1) / (S + 2), a little towards the middle
        difference, error = paired(found, found, f"touch_{way}", f"touched_{way}")
        drawn_in = (1 - 2 * told[f"touched_{way}"]) / (samples + 2)
        assert abs(difference - drawn_in) < 4 * error
        assert 0.1 < told[f"touched_{way}"] < 0.4
    assert told["said_variance"] == pytest.approx(24 * SIGMA**2, rel=0.02)
    assert abs(told["said_variance"] - told["came_variance"]) < 4 * told["came_variance_se"]
    assert told["volatility_unit"] == pytest.approx(SIGMA, rel=0.03)


def test_figures_by_group() -> None:
    windows = Windows([walk(300, 7)], 50, 10)
    brief = score_windows(Walker(), windows, 4, wanted=["brief"])
    names = "crps crps_1 crps_6 crps_10 hv20_crps cover50 cover90 width90 bias mae direction"
    assert list(brief) == ["series", "asset", "time", *names.split()]
    whole = score_windows(Walker(), windows, 4)
    for name, values in brief.items():
        np.testing.assert_array_equal(whole[name], values)
    assert {"energy", "pit_10", "touched_up", "qlike"} <= whole.keys()
    trials = Trials(windows, np.array([3]))
    np.testing.assert_array_equal(trials.past_candles(0)[:, CLOSE], trials.past_closes(0))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_width_scores_as_theory_says(factor: float) -> None:
    told = summary(figures_of(Walker(SIGMA * factor), count=250, samples=40, wanted=["brief", "volatility"]))
    expected = np.sqrt(1 + factor**2) * np.sqrt(2 / np.pi) - factor / np.sqrt(np.pi)
    assert abs(told["crps"] - UNIT * expected) < 4 * told["crps_se"]
    rng = np.random.default_rng(0)
    inside = coverage(factor * rng.standard_normal((40, 20_000)), rng.standard_normal(20_000), 0.9).mean()
    assert told["cover90"] == pytest.approx(inside, abs=0.035)
    assert (told["cover90"] < 0.7) == (factor < 1)
    assert told["qlike"] > (0.3 if factor < 1 else 0.15)  # saying too little costs more


def test_a_wrong_drift_shows_as_bias() -> None:
    told = summary(figures_of(Walker(drift=SIGMA), count=100, steps=[16], wanted=["brief"]))
    assert told["bias"] == pytest.approx(UNIT * 4.0, rel=0.06)  # 16 sigma over 4 sigma


def test_every_origin_against_the_closed_form() -> None:
    """With very many samples the score of paths is that of their Gaussian, origin by origin."""
    windows = Windows([walk(400, 3)], 120, 12)
    found = score_windows(Walker(), windows, 12, samples=20_000, steps=(3, 12), wanted=["crps"])
    trials = Trials(windows, choose_origins(windows, 12))
    for i in range(12):
        past, truth = trials.past(i)["close"].to_numpy(), trials.truth(i)[:, CLOSE]
        changes = np.diff(np.log(past))
        root, came = np.sqrt([3, 12]), np.log(truth[[2, 11]] / past[-1])
        unit = changes[-100:].std() * root
        assert len(changes) == 119
        wanted = crps_gaussian(0, SIGMA * root, came) / unit
        assert [found["crps_3"][i], found["crps_12"][i]] == pytest.approx(wanted.tolist(), abs=0.03)
        assert found["crps"][i] == pytest.approx((found["crps_3"][i] + found["crps_12"][i]) / 2)
        wanted = crps_gaussian(0, changes[-20:].std() * root, came) / unit
        assert found["hv20_crps"][i] == pytest.approx(wanted.mean())


class Clairvoyant(Walker):
    """What no forecaster can do: it was shown the series beforehand."""

    name = "clairvoyant"

    def __init__(self, series: Sequence[Series], wobble: float) -> None:
        super().__init__()
        self.wobble = wobble
        self.known = {t: c for one in series for t, c in zip(one.times, one.bars[:, CLOSE], strict=True)}

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        found = []
        for frame, times in zip(data, y_timestamp, strict=True):
            closes = np.array([self.known[t] for t in times.to_numpy()])
            noise = np.exp(self.wobble * np.random.default_rng(seed).standard_normal((samples, horizon)))
            last = float(frame["close"].iloc[-1])
            found.append(Forecast(candles(closes * noise, last), times, last))
        return found


def test_a_clairvoyant_scores_nothing() -> None:
    series = [walk(600, 1)]
    windows = Windows(series, 100, 24)
    found = score_windows(Clairvoyant(series, 1e-9), windows, 15)
    assert np.abs(found["crps"]).max() < 1e-6
    assert found["mae"].max() < 1e-4
    np.testing.assert_array_equal(found["direction"], 1.0)
    assert found["cover90"].mean() > 0.7
    assert found["hv20_crps"].min() > 0.05
    exact = score_windows(Clairvoyant(series, 0.0), windows, 15)
    np.testing.assert_allclose(exact["crps"], 0.0, atol=1e-12)


# The two doors --------------------------------------------------------------------------------------------------------


def test_the_future_does_not_reach_the_forecaster() -> None:
    one = walk(500, 2)
    numbers = [10, 90, 200]
    honest, fooled = Walker(), Walker()
    before = score_windows(honest, Windows([one], 100, 24), numbers, together=1)
    for trial, number in enumerate(numbers):
        bars = one.bars.copy()
        bars[number + 100 :] *= 3.0
        after = score_windows(fooled, Windows([replace(one, bars=bars)], 100, 24), [number])
        pd.testing.assert_frame_equal(fooled.calls[-1][0], honest.calls[trial][0])
        np.testing.assert_array_equal(fooled.made[-1].paths, honest.made[trial].paths)
        assert after["crps"][0] > before["crps"][trial] + 1  # it is the score that knows


def test_the_doors_hand_out_copies_of_the_right_rows() -> None:
    one = walk(60, 4)
    trials = Trials(Windows([one], 20, 5), np.array([7]))
    past, times, truth = trials.past(0), trials.future_times(0), trials.truth(0)
    pd.testing.assert_frame_equal(past, one.frame().iloc[7:27], check_freq=False)
    np.testing.assert_array_equal(times.to_numpy(), one.times[27:32])
    np.testing.assert_array_equal(truth, one.bars[27:32])
    assert (len(trials), trials.horizon) == (1, 5)
    for given_out in (past.to_numpy(), truth):
        assert not np.shares_memory(given_out, one.bars)
    places = trials.places()
    assert (places["series"][0], places["asset"][0], places["time"][0]) == ("walk", "walk", one.times[27])


def test_how_many_go_together_changes_nothing_but_memory() -> None:
    windows = Windows([walk(400, 5), walk(300, 6, "other")], 100, 10)
    walkers = [Walker(), Walker()]
    many, few = (score_windows(w, windows, 11, together=n) for w, n in zip(walkers, (32, 3), strict=True))
    assert [[len(call) for call in walker.calls] for walker in walkers] == [[11], [3, 3, 3, 2]]
    assert many.keys() == few.keys()
    for name in many:
        np.testing.assert_array_equal(many[name], few[name])
    other = score_windows(Walker(), windows, 11, seed=1)
    assert not np.array_equal(other["crps"], many["crps"])
    np.testing.assert_array_equal(other["hv20_crps"], many["hv20_crps"])  # no random number in it


def test_steps_beyond_the_horizon_become_the_horizon() -> None:
    windows = Windows([walk(200, 7)], 50, 10)
    found = score_windows(Walker(), windows, 4)
    assert [name for name in found if name.startswith("crps_")] == ["crps_1", "crps_6", "crps_10"]
    assert list(score_windows(Walker(), windows, 2, steps=[2]))[3:5] == ["crps", "crps_2"]
    assert all(values.shape == (4,) for values in found.values())


def test_a_look_back_that_does_not_move_has_no_unit() -> None:
    one = walk(400, 8)
    bars = one.bars.copy()
    bars[:150, :4] = 50.0
    windows = Windows([replace(one, bars=bars)], 100, 10)
    found = score_windows(Walker(), windows, [0, 20, 260])
    assert np.isnan(found["crps"]).tolist() == [True, True, False]
    assert np.isfinite(found["mae"]).all()
    told = summary(found)
    assert told["crps"] == found["crps"][2]
    assert np.isnan(told["crps_se"])  # one origin has no error


def test_a_tie_counts_half() -> None:
    one = walk(200, 9)
    bars = one.bars.copy()
    bars[60:80] = bars[59]
    found = score_windows(Walker(), Windows([replace(one, bars=bars)], 60, 5), [0, 100])
    assert found["direction"][0] == 0.5
    assert found["direction"][1] in (0.0, 1.0)


def test_what_is_refused() -> None:
    windows = Windows([walk(200, 1)], 50, 10)

    def refused(message: str, *, origins: Any = 3, chosen: Windows = windows, **how: Any) -> None:
        with pytest.raises(ConfigError, match=message):
            score_windows(Walker(), chosen, origins, **how)

    refused("at least one window", origins=0)
    refused("at least one", origins=[])
    refused("twice", origins=[1, 2, 1])
    refused("from 0 to 140", origins=[141])
    refused("from 0 to 140", origins=[-1])
    refused("list of their numbers", origins=[0.5])
    refused("2 paths", samples=1)
    refused("steps", steps=[])
    refused("steps", steps=[0, 3])
    refused("together", together=0)
    refused("no bar to predict", chosen=Windows([walk(200, 1)], 50, 0))
    refused("no volatility", chosen=Windows([walk(200, 1)], 2, 5))


class Careless(Walker):
    """It answers another question than the one asked."""

    def __init__(self, horizon: int, count: int) -> None:
        super().__init__()
        self.horizon, self.count = horizon, count

    def forecast(self, data: Any, horizon: int, *, y_timestamp: Any = None, **how: Any) -> Any:
        times = [one[: self.horizon] for one in y_timestamp]
        return super().forecast(data, self.horizon, y_timestamp=times, **how)[: self.count]


def test_a_careless_forecaster_is_caught() -> None:
    windows = Windows([walk(200, 1)], 50, 10)
    with pytest.raises(BarsError, match="x 7 bars, of 10"):
        score_windows(Careless(7, 3), windows, 3)
    with pytest.raises(ConfigError, match="walker gave 2 forecasts of 3"):
        score_windows(Careless(10, 2), windows, 3)


# Origins --------------------------------------------------------------------------------------------------------------


def lengths(*rows: int) -> list[Series]:
    return [Series.of(bars_frame(n, seed=i), f"m/s{i}") for i, n in enumerate(rows)]


def test_origins_are_spread_over_the_series_and_over_each() -> None:
    windows = Windows(lengths(500, 500, 500, 60), 40, 10)
    places = [windows.place(int(number)) for number in choose_origins(windows, 21)]
    per_series = [[row for which, row in places if which == s] for s in range(4)]
    assert [len(rows) for rows in per_series] == [6, 7, 6, 2]
    for rows in per_series[:3]:
        gaps = np.diff([-1, *rows, 451])
        assert np.diff(rows).min() >= 10
        assert gaps.max() <= 2 * 451 / 5  # no stretch is left out
    assert len({rows[0] for rows in per_series[:3]}) == 3  # they do not all begin at one moment


@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=6), st.integers(1, 7), st.integers(1, 12), st.integers(1, 400)
)
def test_origins_are_the_right_number_and_apart_where_there_is_room(
    counts: list[int], lookback: int, horizon: int, wanted: int
) -> None:
    if not any(counts):
        counts = [*counts, 5]
    windows = Windows(cached(*(count + lookback + horizon - 1 for count in counts)), lookback, horizon)
    numbers = choose_origins(windows, wanted)
    assert windows.counts.tolist() == counts
    assert len(numbers) == min(wanted, len(windows))
    assert (np.diff(numbers) > 0).all()
    assert numbers[0] >= 0
    assert numbers[-1] < len(windows)
    np.testing.assert_array_equal(numbers, choose_origins(windows, wanted))
    room = [-(-count // horizon) for count in counts]
    places = [windows.place(int(number)) for number in numbers]
    if wanted <= sum(room):
        for (which, row), (other, later) in pairwise(places):
            assert which != other or later - row >= horizon
    given_out = np.bincount([which for which, _ in places], minlength=len(counts))
    if wanted <= sum(room):  # a series has fewer than another by more than one only where it has no more
        full = np.array([g == r for g, r in zip(given_out, room, strict=True)])
        assert (given_out[~full].min() >= given_out.max() - 1) if (~full).any() else True


_LONGEST = bars_frame(160)


def cached(*rows: int) -> list[Series]:
    whole = Series.of(_LONGEST, "m/x")
    return [replace(whole.cut(0, n), name=f"m/s{i}") for i, n in enumerate(rows)]


def test_more_origins_than_windows_are_all_of_them() -> None:
    windows = Windows(lengths(60, 80), 40, 10)
    np.testing.assert_array_equal(choose_origins(windows, 10_000), np.arange(len(windows)))
    found = score_windows(Walker(), windows, np.arange(len(windows))[::-1])
    assert (np.diff(found["time"][:31]) < np.timedelta64(0)).all()  # a list is taken in its own order


def test_parts_of_a_split_are_kept_to() -> None:
    one = walk(600, 3)
    cut = one.times[400]
    windows = Windows([one], 100, 24, since=str(cut)[:10])
    found = score_windows(Walker(), windows, 5)
    assert found["time"].min() >= np.datetime64(str(cut)[:10])
