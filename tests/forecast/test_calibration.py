"""Calibration: known faults are mended on fresh data, ranks and candles survive, a perfect forecaster is left alone."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, invalid
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.evaluate import coverage
from kronos.evaluate import crps as fair_crps
from kronos.forecast.calibration import Calibrated, Calibration, fit
from kronos.forecast.calibration.comparing import calibrated_moves, choose_sampler
from kronos.forecast.calibration.maps import SHARES, Shape, crps, prob_up, shifted, stretched
from kronos.forecast.calibration.moving import recent_volatility
from kronos.forecast.calibration.rising import pooled
from kronos.forecast.calibration.tables import Table
from reference import bars_frame

STEPS = (1, 4, 12)
SIGMA = 0.01
PLAIN = (((1.0,) * 4,) * 2,)


@dataclass(frozen=True)
class Past:
    """Forecasts and what came, made up."""

    moves: np.ndarray
    came: np.ndarray
    closes: np.ndarray
    series: np.ndarray
    market: np.ndarray
    timeframe: np.ndarray
    time: np.ndarray
    steps: tuple[int, ...] = STEPS


def past(
    count: int = 900,
    *,
    seed: int = 0,
    samples: int = 40,
    width: Any = 1.0,
    freedom: float = 0.0,
    said: float = 0.0,
    true: float = 0.0,
    knows: bool = True,
) -> Past:
    """Random walks of a volatility of their own; forecasts `width` times as wide, Student's if `freedom`.

    `said` and `true` are how far a signal moves the centre that is said and the one that is true; a forecaster that
    does not know the volatility says the usual one.
    """
    rng = np.random.default_rng(seed)
    sigma = SIGMA * np.exp(rng.normal(0, 0.4, count))
    root = np.sqrt(np.array(STEPS))
    lengths = np.diff(STEPS, prepend=0)
    own = sigma if knows else np.full(count, SIGMA)
    shocks = rng.normal(size=(count, samples, len(STEPS)))
    if freedom:
        shocks = rng.standard_t(freedom, (count, samples, len(STEPS)))
    moves = (shocks * np.sqrt(lengths)).cumsum(axis=2) * own[:, None, None] * np.asarray(width)
    came = (rng.normal(size=(count, len(STEPS))) * np.sqrt(lengths)).cumsum(axis=1) * sigma[:, None]
    signal = rng.normal(size=(count, 1))
    moves = moves + (said * signal * own[:, None] * root)[:, None]
    came = came + true * signal * sigma[:, None] * root
    closes = 50 * np.exp((rng.normal(size=(count, 101)) * sigma[:, None]).cumsum(axis=1))
    names = np.array([f"m{i % 2}/s{i % 5}" for i in range(count)])
    return Past(
        moves.astype(np.float32),
        came,
        closes,
        names,
        np.array([name[:2] for name in names]),
        np.array(["1h", "4h", "1d"])[np.arange(count) % 3],
        np.datetime64("2020-01-01", "ns") + np.arange(count) * np.timedelta64(6, "h"),
    )


def at(some: Past, mask: np.ndarray) -> Past:
    arrays = {name: getattr(some, name)[mask] for name in vars(some) if name != "steps"}
    return replace(some, **arrays)


def covered(moves: np.ndarray, came: np.ndarray) -> np.ndarray:
    return np.array([coverage(np.moveaxis(moves, 1, 0).astype(float), came, share).mean() for share in SHARES])


def score(moves: np.ndarray, some: Past) -> float:
    units = recent_volatility(some.closes)[:, None] * np.sqrt(np.array(STEPS))
    return float((fair_crps(np.moveaxis(moves, 1, 0).astype(float), some.came) / units).mean())


# Known faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "least_gain"),
    [
        ({"width": 0.7}, 0.02),
        ({"width": 1.6}, 0.03),
        ({"width": 0.6, "freedom": 3.0}, 0.0),
        ({"width": np.array([0.6, 0.8, 1.1])}, 0.01),
    ],
    ids=["narrow", "wide", "fat tails", "by horizon"],
)
def test_bands_hold_what_they_say_on_fresh_data(fault: dict[str, Any], least_gain: float) -> None:
    made = fit(past(1200, **fault), by="all", drift=False, lean=False, up=False)
    fresh = past(1200, seed=1, **fault)
    moves = calibrated_moves(made, fresh)
    before, after = covered(fresh.moves, fresh.came), covered(moves, fresh.came)
    assert np.abs(before - SHARES).max() > 0.03
    assert np.abs(after - SHARES).max() < 0.03
    for step in range(len(STEPS)):
        assert np.abs(covered(moves[..., step : step + 1], fresh.came[:, step : step + 1]) - SHARES).max() < 0.05
    assert score(moves, fresh) < score(fresh.moves, fresh) * (1 - least_gain) + 1e-4


def test_bars_that_were_trained_on_widen_bands_and_never_narrow_them() -> None:
    how: dict[str, Any] = {"by": "all", "drift": False, "lean": False, "up": False}
    for width, low, high in ((1.6, 0.5, 0.8), (0.7, 1.25, 1.6)):
        some = past(600, width=width)
        free, held = (np.array(fit(some, narrow=narrow, **how).groups["all"].factors) for narrow in (True, False))
        assert low < free.min() <= free.max() < high
        assert np.array_equal(held, np.maximum(free, 1.0))


def test_a_perfect_forecaster_is_left_nearly_alone() -> None:
    made, fresh = fit(past()), past(seed=1)
    moves = calibrated_moves(made, fresh)
    assert abs(score(moves, fresh) / score(fresh.moves, fresh) - 1) < 0.003
    assert np.abs(np.log(made.groups["all"].factors)).max() < 0.1
    assert (made.groups["all"].lean, made.groups["all"].up) == (0.0, ())


def test_drift_that_means_nothing_is_taken_away_and_one_that_is_true_is_kept() -> None:
    idle, fresh = fit(past(said=0.6), by="all", lean=False, up=False), past(seed=1, said=0.6)
    assert idle.groups["all"].drift >= 0.75
    assert score(calibrated_moves(idle, fresh), fresh) < 0.97 * score(fresh.moves, fresh)
    assert fit(past(said=0.5, true=0.5), by="all", lean=False, up=False).groups["all"].drift == 0.0
    assert fit(past(200, said=0.6), by="all", drift=False, lean=False, up=False).groups["all"].drift == 0.0


def test_p_up_that_says_too_little_is_mended_and_never_certain() -> None:
    known, fresh = (past(800, seed=s, samples=100, said=0.25, true=0.8) for s in (0, 1))
    made = fit(known, by="all", lean=False)
    table = made.groups["all"]
    assert len(table.up) > 1
    assert all(0.02 <= y <= 0.98 for _, y in table.up)

    def brier(moves: np.ndarray) -> float:
        said = prob_up(np.moveaxis(moves, 1, 0).reshape(moves.shape[1], -1)).reshape(fresh.came.shape)
        return float(np.square(said - (fresh.came > 0)).mean())

    new = calibrated_moves(made, fresh)
    assert brier(new) < brier(fresh.moves) - 0.002
    assert score(new, fresh) < score(fresh.moves, fresh)
    assert fit(at(known, np.arange(800) < 200), by="all", up=False).groups["all"].up == ()


def test_what_recent_volatility_knows_is_leant_on() -> None:
    made, fresh = fit(past(knows=False), by="all", up=False), past(seed=1, knows=False)
    assert made.groups["all"].lean >= 0.5
    assert score(calibrated_moves(made, fresh), fresh) < 0.985 * score(fresh.moves, fresh)


def test_groups_have_tables_of_their_own_drawn_to_that_of_all() -> None:
    known = past(900, samples=20)
    wild = known.timeframe == "4h"
    moves = np.where(wild[:, None, None], known.moves / 2, known.moves)
    made = fit(replace(known, moves=moves), up=False, drift=False, lean=False)
    assert set(made.groups) == {"all", "1h", "4h", "1d"}
    scale = {name: np.array(table.factors).mean() for name, table in made.groups.items()}
    assert scale["1h"] < scale["all"] < scale["4h"] < 2.0
    assert made.groups["4h"].origins == wild.sum() == 300
    few = at(known, np.r_[np.flatnonzero(~wild), np.flatnonzero(wild)[:20]])
    assert "4h" not in fit(few, up=False, drift=False, lean=False).groups
    assert set(fit(known, by="market", up=False, drift=False, lean=False).groups) == {"all", "m0", "m1"}


def test_the_better_way_of_sampling_is_found_and_the_plain_one_preferred() -> None:
    plain, bold = past(500, samples=25), past(500, samples=25, said=0.5)
    chosen, notes = choose_sampler({(0.9, 1.0): plain, (1.0, 1.0): bold})
    assert chosen == (0.9, 1.0)
    assert [note["taken"] for note in notes] == [True, False]
    assert notes[0]["crps"] < notes[1]["crps"]
    assert choose_sampler({(0.8, 1.0): plain, (1.0, 1.0): plain, (1.0, 0.9): plain})[0] == (1.0, 1.0)


def test_fitting_is_repeatable_and_refuses_what_says_nothing() -> None:
    known = past(200, samples=20)
    made = fit(known, up=False)
    assert made.id == fit(known, up=False).id != fit(past(200, samples=20, seed=2), up=False).id
    with pytest.raises(ConfigError, match="not by 'colour'"):
        fit(known, by="colour")
    with pytest.raises(BarsError, match="too few"):
        fit(past(30))
    still = replace(known, closes=np.ones_like(known.closes))
    with pytest.raises(BarsError, match="nothing to fit"):
        fit(still)
    with pytest.raises(ConfigError, match="other steps"):
        calibrated_moves(made, replace(known, steps=(1, 5, 12)))


# Maps ----------------------------------------------------------------------------------------------------------------

factors = st.lists(st.floats(0.2, 5.0), min_size=8, max_size=8).map(lambda f: np.array(f).reshape(1, 2, 4))


@settings(max_examples=40)
@given(st.integers(0, 10**6), factors, st.floats(0, 1), st.floats(0, 1), st.floats(0.02, 0.98))
def test_paths_never_change_places(seed: int, stretch: np.ndarray, drift: float, lean: float, up: float) -> None:
    rng = np.random.default_rng(seed)
    moves = rng.standard_t(2, (40, 3)).cumsum(axis=1) * 0.01
    table = Table(
        steps=(2,),
        factors=tuple(tuple(tuple(side) for side in step) for step in stretch.tolist()),
        drift=drift,
        lean=lean,
        up=((0.1, min(up, 0.5)), (0.9, max(up, 0.5))),
    )
    new = table.apply(moves, 0.02)
    for step in range(3):
        order = np.argsort(moves[:, step])
        assert (np.diff(new[order, step]) >= -1e-15).all()
    assert np.isfinite(new).all()


def test_ends_of_intervals_move_by_their_factors() -> None:
    moves = np.random.default_rng(0).normal(size=(399, 1))  # ranks p (S + 1) are whole
    stretch = np.array([[[1.1, 1.2, 1.3, 1.4], [0.9, 0.95, 1.0, 1.2]]])
    shape = Shape.of(moves)
    new = Shape.of(stretched(moves, shape, stretch))
    np.testing.assert_allclose(new.reach, shape.reach * stretch, rtol=1e-12)
    np.testing.assert_allclose(new.median, 0, atol=1e-12)
    same = stretched(moves, shape, np.ones((1, 2, 4))) + shape.median
    np.testing.assert_allclose(same, moves, atol=1e-12)


def test_a_shift_gives_the_probability_that_is_wanted_within_limits() -> None:
    moves = np.random.default_rng(0).normal(0.05, 1, (199, 3))
    shift = shifted(moves, np.array([0.45, np.nan, 0.95]))
    assert abs(prob_up(moves + shift)[0] - 0.45) < 0.006
    assert shift[1] == 0
    low, high = np.quantile(moves[:, 2], (0.25, 0.75))
    assert shift[2] == pytest.approx(0.25 * (high - low))


def test_scores_and_pools_agree_with_those_of_others() -> None:
    rng = np.random.default_rng(0)
    moves, came = np.sort(rng.normal(size=(30, 7)), axis=0), rng.normal(size=7)
    np.testing.assert_allclose(crps(moves, came), fair_crps(moves, came), rtol=1e-12)
    for _ in range(20):
        values, weights = rng.normal(size=12), rng.uniform(0.1, 3, 12)
        np.testing.assert_allclose(pooled(values, weights), isotonic_regression(values, weights=weights).x, atol=1e-12)


def test_recent_volatility_is_that_of_the_last_bars() -> None:
    rng = np.random.default_rng(0)
    calm, wild = rng.normal(0, 0.01, 400), rng.normal(0, 0.03, 60)
    closes = np.exp(np.r_[0, np.r_[calm, wild]].cumsum())
    assert recent_volatility(closes) == pytest.approx(0.03, rel=0.2)
    assert recent_volatility(closes[:300]) == pytest.approx(0.01, rel=0.2)
    assert recent_volatility(np.ones((2, 50))).tolist() == [0.0, 0.0]


def test_tables_lie_straight_between_their_steps_and_hold_beyond() -> None:
    rows = [[[f] * 4] * 2 for f in (0.8, 1.2, 2.0)]
    table = Table(steps=(1, 4, 16), factors=tuple(tuple(map(tuple, row)) for row in rows), lean_at=(0.0, 1.0, 3.0))
    found, lean_at = table.at(40)
    np.testing.assert_allclose(found[[0, 3, 15, 39], 0, 0], [0.8, 1.2, 2.0, 2.0])
    assert found[1, 1, 2] == pytest.approx(np.sqrt(0.8 * 1.2))  # half-way in log steps
    np.testing.assert_allclose(lean_at[[0, 1, 7, 39]], [0, 0.5, 2, 3])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": (2, 1)}, "steps"),
        ({"factors": (((1.0,) * 4,),)}, "factors"),
        ({"factors": (((9.0,) * 4,) * 2,)}, "factors"),
        ({"drift": 1.5}, "drift"),
        ({"lean": -0.1}, "lean"),
        ({"lean_at": (float("nan"),)}, "lean_at"),
        ({"up": ((0.4, 0.5), (0.6, 0.4))}, "up"),
        ({"up": ((0.4, 0.5), (0.6, 1.0))}, "up"),
    ],
)
def test_tables_that_are_none_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        Table(**{"steps": (1,), "factors": PLAIN, **change})


# Forecasts -----------------------------------------------------------------------------------------------------------


def forecast(samples: int = 50, horizon: int = 6, seed: int = 0, **changes: Any) -> Forecast:
    """Valid candles with gaps and wicks after an hourly history."""
    frame, rng = bars_frame(150, seed=seed), np.random.default_rng(seed)
    last = float(frame["close"].iloc[-1])
    close = last * np.exp(rng.standard_t(4, (samples, horizon)).cumsum(axis=1) * 0.01)
    before = np.concatenate([np.full((samples, 1), last), close[:, :-1]], axis=1)
    open_ = before * np.exp(rng.normal(0, 0.002, close.shape))
    high = np.maximum(open_, close) * np.exp(rng.exponential(0.003, close.shape))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(0.003, close.shape))
    volume = rng.lognormal(4, 0.5, (2, *close.shape))
    times = pd.date_range(frame.index[-1], periods=horizon + 1, freq="1h", name="timestamp")[1:]
    paths = np.stack([open_, high, low, close, *volume], axis=-1)
    return Forecast(
        **{"paths": paths, "timestamps": times, "last_close": last, "history": frame, "timeframe": "1h"} | changes
    )


def calibration(scale: float = 1.3, **changes: Any) -> Calibration:
    table = Table(steps=(1, 6), factors=(((scale,) * 4,) * 2,) * 2, drift=0.5)
    other = replace(table, factors=(((1.0,) * 4,) * 2,) * 2, drift=0.0)
    return Calibration(**{"groups": {"all": other, "1h": table}, "model": "toy"} | changes)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.3, 3.0))
def test_candles_stay_valid_and_follow_their_closes(seed: int, scale: float) -> None:
    raw = forecast(25, 4, seed % 1000)
    new = calibration(scale).apply(raw)
    assert not invalid(new.paths).any()
    np.testing.assert_array_equal(new.paths[..., VOLUME:], raw.paths[..., VOLUME:])
    median = np.median(raw.returns(), axis=0)
    np.testing.assert_allclose(new.returns(), 0.5 * median + scale * (raw.returns() - median), atol=1e-12)
    for step in range(4):
        assert (np.argsort(new.paths[:, step, CLOSE]) == np.argsort(raw.paths[:, step, CLOSE])).all()
    gaps = [np.log(one.paths[:, 1:, OPEN] / one.paths[:, :-1, CLOSE]) for one in (raw, new)]
    assert (np.sign(gaps[0]) == np.sign(gaps[1])).mean() > 0.99
    wicks = [np.log(one.paths[..., HIGH] / one.paths[..., LOW]).mean() for one in (raw, new)]
    assert (wicks[1] > wicks[0]) == (scale > 1) or abs(scale - 1) < 0.05
    assert new.repaired == raw.repaired


def test_open_that_joins_the_last_close_still_does() -> None:
    raw = forecast()
    paths = raw.paths.copy()
    paths[:, 0, OPEN] = raw.last_close
    paths[:, 1:, OPEN] = paths[:, :-1, CLOSE]
    paths[..., HIGH] = paths[..., :4].max(axis=-1)
    paths[..., LOW] = paths[..., :4].min(axis=-1)
    new = calibration(0.8).apply(replace(raw, paths=paths))
    np.testing.assert_allclose(new.paths[:, 1:, OPEN], new.paths[:, :-1, CLOSE], rtol=1e-14)
    np.testing.assert_allclose(new.paths[:, 0, OPEN], raw.last_close, rtol=1e-14)
    narrower = new.prob_touch(raw.last_close * 1.05), replace(raw, paths=paths).prob_touch(raw.last_close * 1.05)
    assert narrower[0] <= narrower[1]


def test_a_calibrated_forecast_says_so_once() -> None:
    made, raw = calibration(), forecast()
    new = made.apply(raw)
    assert (new.meta["calibration"], new.meta["calibration_group"]) == (made.id, "1h")
    with pytest.raises(ConfigError, match=f"already \\({made.id}\\)"):
        made.apply(new)
    assert made.apply(replace(raw, timeframe="")).meta["calibration_group"] == "1h"  # its own times tell
    other = made.apply(replace(raw, timeframe="5m"))
    assert other.meta["calibration_group"] == "all"
    np.testing.assert_allclose(other.paths, raw.paths, rtol=1e-12)
    assert made.apply(raw, group="all").meta["calibration_group"] == "all"
    with pytest.raises(ConfigError, match="no group 'mars'"):
        made.apply(raw, group="mars")
    few = forecast(samples=19)
    skipped = made.apply(few)
    assert skipped.meta["calibration"] is None
    assert "fewer than 20" in skipped.meta["calibration_skipped"]
    np.testing.assert_array_equal(skipped.paths, few.paths)


def test_groups_by_name() -> None:
    table = calibration().groups["1h"]
    markets = calibration(groups={"all": table, "crypto": table}, by="market")
    assert markets.group_of(forecast(name="crypto/BTC_1h")) == "crypto"
    assert markets.group_of(forecast(name="BTC")) == "all"
    series = calibration(groups={"all": table, "BTC": table}, by="series")
    assert series.group_of(forecast(name="BTC")) == "BTC"


def test_leaning_needs_a_history() -> None:
    lean = Table(steps=(1,), factors=PLAIN, lean=0.5, lean_at=(0.0,))
    made = Calibration({"all": lean})
    raw = forecast()
    spread = made.apply(raw).returns().std() / raw.returns().std()
    assert abs(spread - 1) > 0.01
    np.testing.assert_allclose(made.apply(replace(raw, history=None)).paths, raw.paths, rtol=1e-12)
    assert raw.history is not None
    short = made.apply(replace(raw, history=raw.history.iloc[-15:]))
    np.testing.assert_allclose(short.paths, raw.paths, rtol=1e-12)


# Files ---------------------------------------------------------------------------------------------------------------


def test_files_keep_everything_and_own_up_to_changes(tmp_path: Path) -> None:
    made = fit(
        past(200, samples=20), sampler={"T": 0.9, "top_k": 0, "top_p": 1.0}, model="toy", facts={"span": ["a", "b"]}
    )
    back = Calibration.load(made.save(tmp_path / "calibration.json"))
    assert back.id == made.id
    assert (back.groups, back.by, back.model, back.sampler, back.facts) == (
        made.groups, made.by, made.model, made.sampler, made.facts,
    )  # fmt: skip
    assert replace(made, created="2030-01-01").id == made.id
    tree = json.loads((tmp_path / "calibration.json").read_text())
    tree["groups"]["all"]["drift"] = 0.123
    for text, complaint in (
        (json.dumps(tree), "changed after it was fitted"),
        (json.dumps(tree | {"format": 2}), "format 1"),
        ("{}", "format 1"),
        ("[1]", "format 1"),
        ("no", "not a readable"),
        (json.dumps(tree | {"groups": 3}), "keys and values"),
        (json.dumps(tree | {"groups": {"all": {"steps": [1]}}}), "group 'all'"),
        (json.dumps(tree | {"groups": {}}), "needs a table 'all'"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CheckpointError, match=complaint):
            Calibration.load(tmp_path / "bad.json")
    with pytest.raises(CheckpointError, match="not a readable"):
        Calibration.load(tmp_path / "none.json")


# Any forecaster ------------------------------------------------------------------------------------------------------


class Walk:
    """A Gaussian walk that keeps what it was asked."""

    name = "walk"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def forecast(self, data: Any, horizon: int, *, y_timestamp: Any = None, **options: Any) -> Any:
        self.asked.append(options)
        if isinstance(data, dict):
            return {key: forecast(horizon=horizon) for key in data}
        return [forecast(horizon=horizon) for _ in data] if isinstance(data, list) else forecast(horizon=horizon)


def test_any_forecaster_can_be_calibrated() -> None:
    made, walk, frame = calibration(), Walk(), bars_frame(150)
    both = Calibrated(walk, made)
    assert both.name == "walk calibrated"
    wanted = made.apply(forecast())
    one, many = both.forecast(frame, 6, samples=50, seed=1), both.forecast([frame, frame], 6)
    named = both.forecast({"a": frame}, 6)
    for found in (one, *many, named["a"]):
        np.testing.assert_array_equal(found.paths, wanted.paths)
        assert found.meta["calibration"] == made.id
    assert walk.asked[0] == {"samples": 50, "seed": 1}  # no T for who knows none
    grouped = Calibrated(walk, made, group="all", name="w").forecast(frame, 6)
    assert grouped.meta["calibration_group"] == "all"
    warm = Calibrated(walk, calibration(sampler={"T": 0.9, "top_k": 0, "top_p": 1.0}))
    assert warm.forecast(frame, 6).meta["calibration"]
    assert walk.asked[-1] == {"T": 0.9, "top_k": 0, "top_p": 1.0}
    assert "T=1.1" in warm.forecast(frame, 6, T=1.1).meta["calibration_skipped"]
    with pytest.raises(ConfigError, match="already"):
        Calibrated(both, made).forecast(frame, 6)
