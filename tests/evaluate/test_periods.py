"""Evaluation by market period: which bars are whose, nothing later is seen, figures against independent ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from kronos import Forecast
from kronos.data import Series
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.protocols.periods import (
    Period,
    PeriodsTask,
    Span,
    describe,
    find_periods,
    regime_of,
    usable_series,
)
from kronos.evaluate.protocols.periods_report import PICTURES, Album, plain, report_text, write_periods
from kronos.evaluate.protocols.periods_run import PeriodResults, View, run_periods
from kronos.evaluate.protocols.periods_table import Table, by_period, overall, relations
from kronos.evaluate.protocols.periods_words import relation_lines, verdict, warnings_

SIGMA = 0.01
COLUMNS = ["open", "high", "low", "close", "volume", "amount"]
TASK = PeriodsTask(bars=150, share=0.8, windows=3, samples=20)


def candles(closes: np.ndarray, before: float) -> np.ndarray:
    """Flat-bodied candles (..., H, 6) of closes (..., H)."""
    opens = np.concatenate([np.full_like(closes[..., :1], before), closes[..., :-1]], axis=-1)
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    return np.stack([opens, high, low, closes, np.ones_like(closes), closes], axis=-1)


def walk(seed: int = 0, start: str = "2024-01-01", rows: int = 24 * 121, name: str = "crypto/COIN_1h") -> Series:
    """Four months of hours, a random walk."""
    shocks = np.random.default_rng(seed).normal(0, SIGMA, rows)
    index = pd.date_range(start, periods=rows, freq="1h", name="timestamp")
    return Series.of(pd.DataFrame(candles(50 * np.exp(shocks.cumsum()), 50.0), index=index, columns=COLUMNS), name)


class Walker:
    """A random walk around a straight line; `knows` hands it the truth, as no forecaster can."""

    def __init__(self, drift: float = 0.0, sigma: float = SIGMA, knows: Series | None = None, **meta: Any) -> None:
        self.drift, self.sigma, self.knows, self.meta = drift, sigma, knows, meta
        self.seen: list[pd.DataFrame] = []

    @property
    def name(self) -> str:
        return "walker"

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        found = []
        for frame, times in zip(data, y_timestamp, strict=True):
            self.seen.append(frame)
            last = float(frame["close"].iloc[-1])
            rng = np.random.default_rng([seed, int(frame.index[-1].value) % 2**32])
            moves = rng.normal(self.drift, self.sigma, (samples, horizon)).cumsum(axis=1)
            if self.knows is not None:
                row = self.knows.times.searchsorted(times[0].to_datetime64())
                moves = moves * 0.1 + np.log(self.knows.bars[row : row + horizon, 3] / last)
            paths = candles(last * np.exp(moves), last)
            found.append(Forecast(paths, times, last, history=frame, meta=self.meta))
        return found


# Which bars ----------------------------------------------------------------------------------------------------------


def test_months_are_judged_by_their_own_bars() -> None:
    series = walk()
    periods, left_out = find_periods(series, TASK)
    assert [one.name for one in periods] == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert not left_out
    for one in periods:
        month = series.times.astype("datetime64[M]")[one.first : one.stop]
        assert set(month.astype(str)) == {one.name}
        assert len(one.origins) == 3
        assert min(one.origins) == one.first + TASK.lookback
        assert max(one.origins) == one.stop - TASK.horizon
        assert one.apart(TASK.horizon) == 3.0
    single = find_periods(series, TASK.model_copy(update={"windows": 1}))[0]
    assert [one.origins for one in single] == [(one.stop - TASK.horizon,) for one in single]


def test_the_defaults_are_the_guides() -> None:
    task = PeriodsTask()
    assert (task.bars, task.lookback, task.horizon, task.every, task.windows) == (600, 480, 120, "month", 1)


def test_history_may_begin_before_the_period() -> None:
    short = PeriodsTask(bars=1000, share=0.9, windows=4)
    periods, left_out = find_periods(walk(), short)
    assert not periods
    assert left_out["2024-02"] == "696 bars, 1000 are needed"
    before, left_out = find_periods(walk(), short.model_copy(update={"history": "before"}))
    assert [one.name for one in before] == ["2024-02", "2024-03", "2024-04"]
    assert "2024-01" in left_out
    for one in before:
        assert one.first <= min(one.origins)
        assert max(one.origins) + short.horizon <= one.stop
        assert min(one.origins) >= short.lookback


def test_spans_have_names_and_end_before_their_end() -> None:
    spans = (Span(name="fall", since="2024-02-10", until="2024-03-01"), Span(name="all", since="2020", until="2030"))
    task = TASK.model_copy(update={"periods": spans, "windows": 200, "since": "2024-01-05"})
    series = walk()
    (fall, whole), _ = find_periods(series, task)
    assert str(series.times[fall.first])[:13] == "2024-02-10T00"
    assert str(series.times[fall.stop - 1])[:13] == "2024-02-29T23"
    assert str(series.times[whole.first])[:10] == "2024-01-05"
    assert whole.stop == len(series)
    assert len(set(fall.origins)) == len(fall.origins) == 200
    assert fall.apart(task.horizon) < 30
    with pytest.raises(ConfigError, match="same name"):
        TASK.model_copy(update={"periods": (spans[0], spans[0])}).check()
    with pytest.raises(ConfigError, match="does not lie after"):
        TASK.model_copy(update={"periods": (Span(name="x", since="2024-03-01", until="2024-03-01"),)}).check()
    with pytest.raises(ConfigError, match="of history"):
        PeriodsTask(bars=20).check()
    with pytest.raises(ValidationError):
        PeriodsTask(share=1.0)
    with pytest.raises(ConfigError, match="did you mean 'share'"):
        PeriodsTask.of({"shar": 0.7})


def test_windows_that_overlap_count_for_fewer() -> None:
    assert Period("p", 0, 100, (10, 15, 20)).apart(10) == 2.0
    assert Period("p", 0, 100, (10, 40)).apart(10) == 2.0


def test_the_regime_is_that_of_the_period() -> None:
    closes = 50 * np.exp(np.cumsum([0.0, 0.02, -0.01, 0.03, 0.01]))
    index = pd.date_range("2024-01-01", periods=5, freq="1h", name="timestamp")
    series = Series.of(pd.DataFrame(candles(closes, 50.0), index=index, columns=COLUMNS), "x_1h")
    found = regime_of(series, 1, 5)
    assert found.log_return == pytest.approx(0.05)
    assert found.volatility == pytest.approx(np.std([0.02, -0.01, 0.03, 0.01]))
    assert found.trend == pytest.approx(0.05 / (found.volatility * 2))
    up, calm = regime_of(walk(1), 0, 100), regime_of(series, 1, 5)
    assert len(describe([up, calm])) == 2
    assert describe([found])[0] == "rising, usual"


def test_mixed_series_are_left_out_with_the_reason(tmp_path: Path) -> None:
    good = walk(1, rows=2000).frame()
    mixed = good.copy()
    mixed.iloc[100:1900:17, :4] *= 1.3
    good.to_csv(tmp_path / "GOOD_1h.csv")
    mixed.to_csv(tmp_path / "MIXED_1h.csv")
    kept, left_out = usable_series(tmp_path)
    assert [one.name for one in kept] == ["GOOD_1h"]
    assert left_out == {"MIXED_1h": "bars of two series are mixed in it"}
    with pytest.raises(BarsError, match="no series is left"):
        usable_series(tmp_path / "MIXED_1h.csv")


# Scores --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results() -> PeriodResults:
    series = walk()
    models = {
        "oracle": Walker(knows=series),
        "walker": Walker(cutoff="2024-02-15", lookback=60),
        "narrow": Walker(sigma=SIGMA / 5, drift=0.002, cutoff=None),
    }
    return run_periods(TASK, [series], models)


def test_figures_are_what_others_make_of_them(results: PeriodResults) -> None:
    """The same windows, cut and scored by hand with scipy."""
    series, model = walk(), Walker(cutoff="2024-02-15", lookback=60)
    rows = results.scores[results.scores["model"] == "walker"]
    for row in rows.iloc[[0, 4, 11]].to_dict("records"):
        origin = int(series.times.searchsorted(row["time"].to_datetime64()))
        frame = series.frame()
        past, truth = frame.iloc[origin - 120 : origin], frame["close"].iloc[origin : origin + 30].to_numpy()
        times = pd.DatetimeIndex(frame.index[origin : origin + 30])
        mean = model.forecast([past], 30, samples=20, y_timestamp=[times])[0].mean()["close"].to_numpy()
        assert row["close_correlation"] == pytest.approx(stats.pearsonr(mean, truth).statistic)
        assert row["rank_correlation"] == pytest.approx(stats.spearmanr(mean, truth).statistic)
        assert row["mape"] == pytest.approx(100 * np.mean(np.abs(mean - truth) / truth))
        last = float(past["close"].iloc[-1])
        assert row["mape_still"] == pytest.approx(100 * np.mean(np.abs(last - truth) / truth))
        assert row["direction_steps"] == pytest.approx(np.mean(np.sign(mean - last) == np.sign(truth - last)))
        said, came = (np.sign(np.diff(np.insert(path, 0, last))) for path in (mean, truth))
        assert row["direction_bars"] == pytest.approx(np.mean(said == came))
        walks = np.random.default_rng(5).normal(size=(400, 30)).cumsum(axis=1)
        by_hand = np.sqrt(np.mean(np.corrcoef(mean, walks)[0, 1:] ** 2))
        assert row["correlation_chance"] == pytest.approx(by_hand, abs=0.05)


def test_who_knows_wins_and_who_is_too_sure_is_caught(results: PeriodResults) -> None:
    means = overall(results)
    assert means["oracle"]["close_correlation"] > 0.95
    assert means["oracle"]["crps_ratio"] < 0.3
    assert means["oracle"]["direction_steps"] > 0.9
    assert abs(means["walker"]["close_correlation"]) < 3.5 * means["walker"]["close_correlation_se"]
    assert means["walker"]["cover90"] == pytest.approx(0.9, abs=0.12)
    assert means["narrow"]["cover90"] < 0.5
    told = " ".join(verdict(results, means))
    assert "oracle: close correlation +1.00" in told
    assert "foreseen to some extent" in told
    assert "overconfident" in told
    assert "walker: direction" in told
    assert all((row["windows"], row["periods"]) == (12, 4) for row in means.values())
    mine = results.scores[results.scores["model"] == "walker"]
    assert means["walker"]["crps_ratio"] == pytest.approx(mine["crps"].mean() / mine["hv20_crps"].mean())


def test_nothing_that_comes_later_is_seen() -> None:
    series, bent = walk(), walk()
    bars = bent.bars.copy()
    task = TASK.model_copy(update={"since": "2024-01-01", "until": "2024-02-01"})
    (period,), _ = find_periods(series, task)
    bars[period.origins[1] :, :4] *= 1.5
    changed = Series(**{**bent.__dict__, "bars": bars})
    first, second = Walker(), Walker()
    plain_run, bent_run = (run_periods(task, [one], {"w": who}) for one, who in ((series, first), (changed, second)))
    for a, b, origin in zip(first.seen, second.seen, period.origins, strict=True):
        assert len(a) == task.lookback
        assert a.index[-1] < series.times[origin]
        if origin <= period.origins[1]:
            pd.testing.assert_frame_equal(a, b)
    came = [run.scores["came_return"].to_numpy() for run in (plain_run, bent_run)]
    assert came[0][1] != pytest.approx(came[1][1])
    np.testing.assert_allclose(plain_run.scores["said_return"][:2], bent_run.scores["said_return"][:2])


def test_what_was_trained_on_is_marked(results: PeriodResults) -> None:
    by_model = {model: rows["before_cutoff"].tolist() for model, rows in results.scores.groupby("model")}
    assert not any(by_model["oracle"])
    assert by_model["walker"] == [True] * 4 + [False] * 8  # January, and the first window of February
    assert by_model["narrow"] == [None] * 12
    told = " ".join(warnings_(results, overall(results)))
    assert "walker: 4 of 12 windows lie before its cut-off" in told
    assert "narrow: does not say up to when it was trained" in told
    assert "walker: read the last 60 of 120 known bars" in told
    assert "spread of its windows" in told


def test_one_window_a_period_says_little_and_is_said_to() -> None:
    single = run_periods(TASK.model_copy(update={"windows": 1}), [walk()], {"w": Walker()})
    told = " ".join(warnings_(single, overall(single)))
    assert "next to nothing" in told
    assert "one standard deviation" in told
    assert by_period(single)["close_correlation_spread"].isna().all()


def test_relations_with_the_regime_are_told_from_chance() -> None:
    count = 12
    table = pd.DataFrame(
        {"model": "m", "volatility": np.arange(count) / 100, "trend": np.random.default_rng(0).normal(size=count)}
    )
    for name in ("close_correlation", "direction_steps", "mape_ratio", "crps_ratio", "cover90"):
        table[name] = np.random.default_rng(len(name)).normal(size=count)
    table["cover90"] = 1 - table["volatility"]
    found = relations(table).set_index(["figure", "regime"])
    assert found.loc[("cover90", "volatility"), "correlation"] == pytest.approx(-1)
    expected = stats.spearmanr(table["crps_ratio"], table["trend"].abs()).statistic
    assert found.loc[("crps_ratio", "move"), "correlation"] == pytest.approx(expected)
    told = " ".join(relation_lines(relations(table)))
    assert "coverage of 90 % falls with the volatility of the period (-1.00 over 12 periods)" in told
    assert "Fewer than 8 periods" in relation_lines(relations(table.iloc[:5]))[0]


def test_no_room_and_no_models_are_said() -> None:
    with pytest.raises(BarsError, match="no period has room for a window of 3840"):
        run_periods(PeriodsTask(bars=4800), [walk()], {"w": Walker()})
    with pytest.raises(ConfigError, match="no model"):
        run_periods(TASK, [walk()], {})


# What is left behind -------------------------------------------------------------------------------------------------


def test_everything_is_written(tmp_path: Path) -> None:
    album = Album(tmp_path / PICTURES)
    views: list[View] = []

    def show(view: View) -> None:
        views.append(view)
        if len(views) == 1:
            album(view)

    said: list[str] = []
    task = TASK.model_copy(update={"until": "2024-03-01"})
    results = run_periods(task, [walk()], {"a|b": Walker(), "<c>": Walker(drift=0.001)}, say=said.append, show=show)
    assert len(said) == len(views) == 2
    assert views[1].origin == views[1].period.origins[-1]
    tree = write_periods(results, tmp_path, album.pictures)
    assert json.loads((tmp_path / "periods.json").read_text(encoding="utf-8")) == tree
    assert [one["period"] for one in tree["periods"]] == ["2024-01", "2024-02"]
    assert set(tree["periods"][0]["models"]) == {"a|b", "<c>"}
    assert len(pd.read_csv(tmp_path / "windows.csv")) == 2 * 2 * 3
    assert len(pd.read_csv(tmp_path / "periods.csv")) == 2 * 2
    page, text = ((tmp_path / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for file in ("summary.png", "001_crypto_COIN_1h_2024-01.png"):
        assert (tmp_path / PICTURES / file).stat().st_size > 10_000
        assert f"{PICTURES}/{file}" in page
        assert f"({PICTURES}/{file})" in text
    assert "&lt;c&gt;" in page
    assert "<c>" not in page
    assert "a\\|b" in text
    assert "all  mean ± s.e." in " ".join(report_text(results).split("all     ")) or "mean ± s.e." in report_text(
        results
    )


def test_tables_and_json_are_plain() -> None:
    table = Table(["name", "n"], [["x", "1.50"], ["longer", "-2.00"]])
    assert table.text().splitlines() == ["name        n", "x        1.50", "longer  -2.00"]
    assert table.markdown().splitlines()[1] == "| --- | ---: |"
    assert "<td class=n>1.50</td>" in table.html()
    assert plain({"a": (np.float64("nan"), np.int64(3), pd.Timestamp("2024-01-01"))}) == {
        "a": [None, 3, "2024-01-01T00:00:00"]
    }
