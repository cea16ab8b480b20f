"""Signals: days x assets from what is known, and how they rank, with the errors of overlapping returns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from paper_walkers import Prophet, Walker, series

from kronos.bars import next_times
from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.evaluate.protocols.paper_tasks import Entrant, PaperSettings
from kronos.evaluate.protocols.signals import (
    COLUMNS,
    cross_section,
    ranking,
    read_signals,
    signal_points,
    signals_of,
    wide_signals,
)

ALL_DAYS = PaperSettings(dates=0, baseline_samples=8)


def stock(number: int, market: str = "cn", rows: int = 130) -> Series:
    return series(f"{market}/S{number}_1d", rows=rows, timeframe="1d", seed=number, start="2024-04-01")


@pytest.fixture(scope="module")
def stocks() -> list[Series]:
    return [stock(i) for i in range(5)]


def test_every_asset_has_a_signal_on_every_day_from_its_90th_bar_on(stocks: list[Series]) -> None:
    points = signal_points(stocks, "2024-07-01", ALL_DAYS)
    days = sorted({point.series.times[point.row] for point in points})
    assert days[0] == np.datetime64("2024-07-01")
    assert days[-1] == stocks[0].times[-1], "the last day has a signal, though what it earns is not known yet"
    assert len(points) == 5 * len(days) == 5 * 39
    early = signal_points(stocks, "2024-01-01", ALL_DAYS)
    assert min(point.row for point in early) == 89
    spread = signal_points(stocks, "2024-07-01", PaperSettings(dates=4))
    assert len({point.series.times[point.row] for point in spread}) == 4
    until = signal_points(stocks, "2024-07-01", PaperSettings(until="2024-07-05"))
    assert len({point.series.times[point.row] for point in until}) == 4
    assert signal_points([stock(0, rows=80)], "2024-01-01", ALL_DAYS) == []
    assert signal_points([series("crypto/C_1h")], "2024-07-01", ALL_DAYS) == []


def test_the_signal_is_the_mean_of_predicted_closes_over_the_last(stocks: list[Series]) -> None:
    points = signal_points(stocks, "2024-07-01", PaperSettings(dates=3))
    walker = Walker(drift=0.001)
    frame = signals_of(Entrant("m", walker, sampled=True), points, ALL_DAYS)
    assert tuple(frame.columns) == COLUMNS
    assert walker.asked[0] == {
        "lookback": 90, "horizon": 10, "samples": 10, "T": 0.6, "top_p": 0.9, "overflow": "exact",
    }  # fmt: skip
    one = frame[frame["series"] == "cn/S3_1d"].iloc[0]
    whole = stocks[3]
    row = int(np.searchsorted(whole.times, np.datetime64(one["date"])))
    past = whole.cut(row - 89, row + 1).frame()
    made = Walker(drift=0.001).forecast([past], 10, samples=10)[0]
    closes = whole.bars[:, CLOSE]
    assert one["signal"] == pytest.approx(made.paths[..., CLOSE].mean() / closes[row] - 1)
    assert one["came"] == pytest.approx(closes[row + 10] / closes[row] - 1)
    last = frame[frame["date"] == frame["date"].max()]
    assert last["signal"].notna().all()
    assert last["came"].isna().all()


def test_a_suspension_to_come_is_not_told(stocks: list[Series]) -> None:
    """The days that a forecaster is asked for follow from its look-back, whatever days really came."""
    bars = stocks[0].frame().drop(stocks[0].frame().index[105:112])
    halted = Series.of(bars, "cn/HALT_1d")
    points = [p for p in signal_points([halted], "2024-01-01", ALL_DAYS) if p.row == 104]
    walker = Walker()
    signals_of(Entrant("m", walker), points, ALL_DAYS)
    assert walker.told[0].equals(next_times(pd.DatetimeIndex(points[0].past().index), 10))
    assert walker.told[0][0] != pd.Timestamp(halted.times[105])


def test_the_frame_that_is_handed_over(stocks: list[Series], tmp_path: Path) -> None:
    short = Series.of(stocks[4].frame().iloc[:110], "cn/S4_1d")
    other = Series.of(stock(7, "us").frame(), "us/S0_1d")  # the same symbol in another market
    points = signal_points([*stocks[:4], short, other], "2024-07-01", ALL_DAYS)
    frame = signals_of(Entrant("m", Walker(fails=[pd.Timestamp("2024-07-03")])), points, ALL_DAYS)
    wide = wide_signals(frame)
    assert list(wide.columns) == ["cn/S0_1d", "s1", "s2", "s3", "s4", "us/S0_1d"]
    assert wide.index.is_monotonic_increasing
    assert wide.index.name == "date"
    assert wide.loc["2024-07-03"].isna().all(), "where it failed there is no signal"
    assert wide.loc["2024-07-25":, "s4"].isna().all(), "nor after an asset's last bar"
    assert wide.loc["2024-07-25":, "s1"].notna().all()
    frame.to_parquet(tmp_path / "m.parquet", index=False)
    pd.testing.assert_frame_equal(read_signals(tmp_path / "m.parquet"), wide, check_freq=False)
    assert list(read_signals(tmp_path / "m.parquet", "us").columns) == ["s0"]
    with pytest.raises(ConfigError, match="there are cn, us"):
        read_signals(tmp_path / "m.parquet", "fx")
    with pytest.raises(SourceError, match="no signals"):
        read_signals(tmp_path / "none.parquet")
    frame.drop(columns="date").to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(SourceError, match="lack date"):
        read_signals(tmp_path / "bad.parquet")
    with pytest.raises(ConfigError, match="choose one model"):
        wide_signals(pd.concat([frame, frame.assign(model="n")]))
    with pytest.raises(BarsError, match="90 bars"):
        wide_signals(frame.iloc[:0])


def test_ranking_of_one_who_knows_and_coverage(stocks: list[Series]) -> None:
    points = signal_points(stocks, "2024-07-01", ALL_DAYS)
    frame = signals_of(Entrant("p", Prophet(stocks)), points, ALL_DAYS)
    days = cross_section(frame)
    assert (days["assets"] == 5).all()
    assert (days["coverage"] == 1.0).all()
    assert days["rank_ic"].isna().sum() == 10, "of the last days nothing is known"
    known = frame.dropna(subset="came")
    wanted = known.groupby("date")[["signal", "came"]].apply(lambda d: d["signal"].corr(d["came"], method="spearman"))
    np.testing.assert_allclose(days["rank_ic"].dropna(), wanted)
    lost = frame.copy()
    lost.loc[lost["date"] == lost["date"].iloc[0], "signal"] = np.nan
    partly = lost[~((lost["date"] == lost["date"].iloc[30]) & (lost["series"] == "cn/S1_1d"))]
    found = cross_section(partly).set_index("date")
    assert found["coverage"].iloc[0] == 0.0
    assert found.loc[lost["date"].iloc[30], "coverage"] == pytest.approx(0.8)
    assert np.isnan(found.loc[lost["date"].iloc[30], "rank_ic"]), "four assets have no ranking to speak of"


def test_the_error_of_overlapping_days_is_newey_wests() -> None:
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2024-07-01", periods=150)
    values = np.convolve(rng.normal(0.05, 0.3, 159), np.ones(10) / 3, mode="valid")
    days = pd.DataFrame({"market": "cn", "date": dates, "assets": 50, "coverage": 1.0, "rank_ic": values})
    found = ranking(days).iloc[0]
    fit = sm.OLS(values, np.ones(150)).fit(cov_type="HAC", cov_kwds={"maxlags": 9, "use_correction": True})
    assert found["rank_ic"] == pytest.approx(fit.params[0])
    assert found["rank_ic_se"] == pytest.approx(fit.bse[0])
    assert found["icir"] == pytest.approx(values.mean() / values.std(ddof=1))
    apart = days.iloc[::10]
    alone = ranking(apart).iloc[0]
    assert alone["rank_ic_se"] == pytest.approx(apart["rank_ic"].std(ddof=1) / np.sqrt(15))
    assert np.isnan(ranking(days.iloc[:1]).iloc[0]["rank_ic_se"])
