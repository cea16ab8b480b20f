"""Which bars are laid beside a forecast, what is scored, and what the scoreboard makes of it."""

import json
from datetime import timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kronos.data import Series
from kronos.errors import ConfigError
from kronos.evaluate.ledger.choosing import Choice
from kronos.evaluate.ledger.ledger import Ledger
from kronos.evaluate.ledger.packing import pack, unpack
from kronos.evaluate.ledger.scoreboard import Scoreboard
from kronos.evaluate.ledger.sums import ratio
from kronos.evaluate.ledger.yardsticks import judge_yardsticks
from kronos.evaluate.metrics.uncertainty import standard_error
from kronos.evaluate.scoring import score_forecast
from ledger_toys import Clock, forecast_of, market, series_of, write

BARS = market(400)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    return Ledger.open(tmp_path / "ledger.db", clock=clock)


def newest(ledger: Ledger) -> Any:
    return ledger.entry(ledger.forecasts()["id"].iloc[0]).outcomes[-1]


# What is scored ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [3, 24, 40])
def test_figures_are_those_of_the_whole_forecast(ledger: Ledger, clock: Clock, horizon: int) -> None:
    made = forecast_of(BARS, 200, samples=50, horizon=horizon, wide=1.3)
    clock.at(BARS, 200)
    ledger.add(made, symbol="BTC/USDT")
    clock.at(BARS, 300)
    assert ledger.reconcile([series_of(BARS)], source="bars").scored == 1
    assert made.history is not None
    truth = BARS.iloc[200 : 200 + horizon].to_numpy()
    wanted = score_forecast(made, made.history.to_numpy(), truth, (1, 6, 12, 24, horizon))
    found = newest(ledger).figures
    assert set(wanted) <= set(found)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True), name
    np.testing.assert_array_equal(newest(ledger).bars, truth)
    assert newest(ledger).source == "bars BTC-USDT"


def test_yardsticks_against_integrals_and_draws() -> None:
    past, came, steps = BARS["close"].to_numpy()[:200], BARS["close"].to_numpy()[200:224], [1, 6, 12, 24]
    found = judge_yardsticks(past, came, steps)
    changes, root = np.diff(np.log(past)), np.sqrt(steps)
    moves = np.log(came[np.array(steps) - 1] / past[-1])
    rng = np.random.default_rng(5)
    for name, bars in (("walk", 100), ("hv20", 20)):
        wide = changes[-bars:].std() * root
        crps = [_integral(move, one) for move, one in zip(moves, wide, strict=True)]
        assert found[f"{name}_crps"] == pytest.approx((crps / (changes[-100:].std() * root)).mean(), rel=1e-3)
        low, high = np.quantile(rng.normal(size=(200_000, 1)) * wide, (0.05, 0.95), axis=0)
        assert found[f"{name}_cover90"] == ((low < moves) & (moves < high)).mean()
    assert found["walk_brier"] == 0.25
    assert found["hv20_crps"] == pytest.approx(
        score_forecast(forecast_of(BARS, 200), BARS.iloc[50:200].to_numpy(), BARS.iloc[200:224].to_numpy())["hv20_crps"]
    )


def _integral(came: float, deviation: float) -> float:
    """The CRPS of a Gaussian by its definition: the squared distance of two distribution functions."""
    grid = np.linspace(-12 * deviation, 12 * deviation, 20_001)
    below = np.array([NormalDist(0.0, deviation).cdf(x) for x in grid])
    return float(np.trapezoid((below - (grid >= came)) ** 2, grid))


def test_a_market_that_stood_still_has_no_unit_and_stops_nothing(ledger: Ledger, clock: Clock) -> None:
    still = BARS.copy()
    still.iloc[:200, :4] = 100.0
    write(ledger, clock, still, 200)
    write(ledger, clock, BARS, 201)
    clock.at(BARS, 300)
    assert ledger.reconcile([series_of(still)]).scored == 2
    assert np.isnan(newest(ledger).figures["crps"])
    assert ledger.scoreboard().frame["scored"].tolist() == [2]


def test_numbers_are_packed_and_come_back_whatever_they_are() -> None:
    rng = np.random.default_rng(1)
    for values in (rng.normal(size=(7, 5)).astype(np.float32), np.arange(9), np.array([[np.nan, -0.0, np.inf]])):
        back = unpack(pack(values), values.dtype.str, values.shape)
        assert back.dtype == values.dtype
        assert back.tobytes() == values.tobytes()
    assert len(pack(np.zeros(1000))) < 50


# When it is scored -------------------------------------------------------------------------------------------------


def counted(found: Any) -> dict[str, int]:
    return {name: value for name, value in vars(found).items() if name != "told" and value}


def test_a_forecast_waits_until_its_last_bar_is_there_and_over(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    assert counted(ledger.reconcile([series_of(BARS.iloc[:200])])) == {"waiting": 1}
    assert counted(ledger.reconcile([series_of(BARS.iloc[:223])])) == {"waiting": 1}
    clock.at(BARS, 223)  # the last bar is being traded
    assert counted(ledger.reconcile([series_of(BARS.iloc[:224])])) == {"waiting": 1}
    clock.at(BARS, 224)
    assert counted(ledger.reconcile([series_of(BARS.iloc[:224])])) == {"scored": 1}
    assert counted(ledger.reconcile([series_of(BARS)])) == {"settled": 1}
    assert newest(ledger).version == 1


def test_a_later_bar_shows_that_the_last_one_is_over_whatever_the_clock_says(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.now -= timedelta(days=400)
    assert counted(ledger.reconcile([series_of(BARS.iloc[:225])])) == {"scored": 1}


def test_bars_are_matched_by_time_and_not_by_their_number(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    holed = BARS.drop(BARS.index[[180, 210]])
    found = ledger.reconcile([series_of(holed)])
    assert counted(found) == {"holes": 1}
    assert "1 of its 24 bars are missing in BTC-USDT, which goes on" in found.told[0]
    assert counted(ledger.reconcile([series_of(holed)], fill=True)) == {"scored": 1}
    filled = newest(ledger)
    assert filled.figures["filled"] == 1.0
    assert filled.past == "closes"  # one bar of the look-back is gone, the others are as they were
    np.testing.assert_array_equal(filled.bars[10, :4], BARS["close"].iloc[209])
    np.testing.assert_array_equal(np.delete(filled.bars, 10, axis=0), BARS.iloc[200:224].drop(BARS.index[210]))
    assert counted(ledger.reconcile([series_of(BARS)])) == {"revised": 1}  # the bar came after all
    assert newest(ledger).figures["filled"] == 0.0


def test_more_holes_than_bars_are_not_filled(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    gone = BARS.drop(BARS.index[201:215])
    assert counted(ledger.reconcile([series_of(gone)], fill=True)) == {"holes": 1}
    late = BARS.iloc[201:]  # no bar says where the price stood
    assert counted(ledger.reconcile([series_of(late)], fill=True)) == {"holes": 1}


def test_revised_bars_add_a_version_and_the_first_stays(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    ledger.reconcile([series_of(BARS)])
    other = BARS.copy()
    other.iloc[215:, :4] *= 1.01
    found = ledger.reconcile([series_of(other)], source="later")
    assert counted(found) == {"revised": 1}
    assert "version 2" in found.told[0]
    louder = BARS.assign(volume=7.0)
    assert counted(ledger.reconcile([series_of(louder)])) == {"revised": 1}  # as before; volume alone is no revision
    assert counted(ledger.reconcile([series_of(BARS)])) == {"settled": 1}
    outcomes = ledger.entry(ledger.forecasts()["id"].iloc[0]).outcomes
    assert [one.version for one in outcomes] == [1, 2, 3]
    assert outcomes[0].figures == outcomes[2].figures != outcomes[1].figures
    assert ledger.scoreboard().frame["crps"].tolist() == [outcomes[2].figures["crps"]]
    assert ledger.check().sound


# Whose bars they are -----------------------------------------------------------------------------------------------


def test_a_split_is_taken_out_of_the_prices(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    split = BARS.copy()
    split[["open", "high", "low", "close"]] = (BARS[["open", "high", "low", "close"]] / 4.0).round(4)
    found = ledger.reconcile([series_of(split)])
    assert (found.scored, found.rescaled) == (1, 1)
    assert "0.25 times" in found.told[0]
    assert newest(ledger).figures["came_return"] == pytest.approx(
        float(np.log(BARS["close"].iloc[223] / BARS["close"].iloc[199])), abs=1e-5
    )


def test_a_look_back_that_is_another_one_now_is_told(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    other = BARS.copy()
    other.iloc[190, :4] *= 1.02
    found = ledger.reconcile([series_of(other)])
    assert (found.scored, found.different) == (1, 1)
    assert "are other ones in BTC-USDT now" in found.told[0]
    assert newest(ledger).past == "different"


@pytest.mark.parametrize(
    ("spelt", "place", "past"),
    [
        ("BTC-USDT", BARS, "same"),
        ("btcusdt", BARS.iloc[100:], "closes"),
        ("BTC/USDT", BARS.iloc[200:], "unknown"),
        ("BTC/USDT:USDT", BARS, "same"),  # its bars prove it
    ],
)
def test_a_series_is_known_by_its_name_or_by_its_bars(
    ledger: Ledger, clock: Clock, spelt: str, place: pd.DataFrame, past: str
) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    assert ledger.reconcile([series_of(place, spelt, "x")]).scored == 1
    assert newest(ledger).past == past


def test_a_swap_or_another_market_is_not_taken_for_it(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    basis = BARS.copy()
    basis.iloc[:, :4] *= 1.0 + np.random.default_rng(3).normal(0.002, 0.0005, (len(BARS), 1))
    swap = series_of(basis, "BTC/USDT:USDT", "swap")
    found = ledger.reconcile([swap])
    assert counted(found) == {"unmatched": 1}
    assert "swap is not called BTC/USDT" in found.told[0]
    assert counted(ledger.reconcile([Series.of(BARS.resample("2h").first(), "x", symbol="BTC/USDT")])) == {
        "unmatched": 1
    }
    venues = [series_of(basis, name="one/BTC", market="one"), series_of(basis * 1.001, name="two/BTC", market="two")]
    found = ledger.reconcile(venues)
    assert "2 series could be meant (one/BTC, two/BTC)" in found.told[0]
    right = series_of(BARS, "BTCUSDT", "right")
    assert ledger.reconcile([swap, *venues, right, right.cut(0, 300)]).scored == 1
    assert newest(ledger).source == "right"


def test_the_market_decides_between_two_of_a_name(ledger: Ledger, clock: Clock) -> None:
    clock.at(BARS, 200)
    ledger.add(forecast_of(BARS, 200), symbol="ABC", market="us")
    clock.at(BARS, 399)
    late = BARS.iloc[200:]
    hk, us = (series_of(late, "ABC", f"{market}/ABC", market) for market in ("hk", "us"))
    assert counted(ledger.reconcile([hk])) == {"unmatched": 1}
    assert ledger.reconcile([hk, us]).scored == 1
    assert newest(ledger).source == "us/ABC"


def test_the_place_of_the_bars_is_noted_without_who_may_read_it(ledger: Ledger, clock: Clock) -> None:
    write(ledger, clock, BARS, 200)
    clock.at(BARS, 399)
    ledger.reconcile([series_of(BARS)], source="s3://key:secret@store/lake")
    assert newest(ledger).source == "s3://store/lake BTC-USDT"


# The scoreboard ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Who knows the market and who is too sure of it, at two series, and a forecast that waits."""
    clock = Clock()
    ledger = Ledger.open(tmp_path_factory.mktemp("judged") / "ledger.db", clock=clock)
    markets = {symbol: market(1400, seed) for seed, symbol in enumerate(("BTC/USDT", "ETH/USDT"), 10)}
    for row in range(160, 1360, 36):
        for symbol, frame in markets.items():
            clock.at(frame, row)
            for model, wide in (("gauss", 1.0), ("narrow", 0.3)):
                made = forecast_of(frame, row, samples=40, wide=wide, seed=len(model), model=model)
                ledger.add(made, symbol=symbol, market="crypto")
    clock.at(markets["BTC/USDT"], 1390)
    ledger.add(forecast_of(markets["BTC/USDT"], 1390), symbol="BTC/USDT", market="crypto")
    ledger.reconcile([series_of(frame, symbol) for symbol, frame in markets.items()])
    return ledger


def test_who_knows_the_market_has_the_coverage_and_who_is_too_sure_is_caught(judged: Ledger) -> None:
    frame = judged.scoreboard().frame.set_index(["model", "symbol"])
    assert list(frame.index) == [(m, s) for m in ("gauss", "narrow") for s in ("all", "BTC/USDT", "ETH/USDT")]
    right, wrong = frame.loc[("gauss", "all")], frame.loc[("narrow", "all")]
    assert (right["forecasts"], right["scored"], right["waiting"]) == (69, 68, 1)
    for share in (50, 90):
        assert abs(right[f"cover{share}"] - share / 100) < 3 * right[f"cover{share}_se"]
        assert right[f"cover{share}_se"] < 0.06
    assert abs(right["to_walk"] - 1.0) < 3 * right["to_walk_se"]
    assert wrong["cover90"] + 3 * wrong["cover90_se"] < 0.6
    assert wrong["to_walk"] - 3 * wrong["to_walk_se"] > 1.0
    assert wrong["crps"] > right["crps"]
    assert abs(right["walk_cover90"] - 0.9) < 0.06


def test_the_board_is_what_its_forecasts_say(judged: Ledger) -> None:
    board = judged.scoreboard()
    own = board.trials[(board.trials["model"] == "narrow") & (board.trials["symbol"] == "ETH/USDT")]
    row = board.frame.set_index(["model", "symbol"]).loc[("narrow", "ETH/USDT")]
    assert row["crps"] == pytest.approx(own["crps"].mean())
    assert row["crps_se"] == pytest.approx(standard_error(own["crps"], ["a"] * len(own), own["first"].to_numpy()))
    assert row["to_hv20"] == pytest.approx(own["crps"].mean() / own["hv20_crps"].mean())
    up = pd.concat([own[f"up_{step}"] for step in (1, 6, 12, 24)])
    rose = pd.concat([own[f"rose_{step}"] for step in (1, 6, 12, 24)])
    assert row["brier"] == pytest.approx(((up - rose) ** 2).mean())
    bins = Scoreboard(own.reset_index(drop=True)).reliability("narrow")
    assert bins["count"].sum() == 4 * len(own)
    inside = (up >= 0.4) & (up < 0.5)
    middle = bins[(bins["said"] >= 0.4) & (bins["said"] < 0.5)].iloc[0]
    assert (middle["count"], middle["rose"]) == (inside.sum(), pytest.approx(rose[inside].mean()))


def test_the_error_of_a_ratio_is_that_of_many_draws() -> None:
    rng = np.random.default_rng(2)
    times = np.arange(400).astype("datetime64[h]")
    assets = np.array(["a"] * 400)

    def draw() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        shared = rng.gamma(4.0, size=400)
        return shared + rng.gamma(2.0, size=400), shared + rng.gamma(3.0, size=400)

    values, errors = zip(*(ratio(*draw(), assets, times) for _ in range(200)), strict=True)
    assert np.mean(values) == pytest.approx(6.0 / 7.0, abs=0.005)
    # the worst of several clusterings is believed, so it is a little too large
    assert 0.95 < np.mean(errors) / np.std(values) < 1.5


def test_the_board_can_be_narrowed(judged: Ledger) -> None:
    def scored(**choice: Any) -> int:
        return int(judged.scoreboard(Choice(**choice)).scored().shape[0])

    assert scored(model="narrow") == 68
    assert scored(symbol="ETH/USDT", timeframe="1h", market="crypto") == 68
    assert scored(timeframe="4h") == 0
    origins = judged.forecasts()["origin"]
    middle = pd.Timestamp("2025-04-01")
    assert scored(since="2025-04-01") == int(((origins >= middle) & (origins < origins.max())).sum())
    assert scored(until="2025-04-01") == int((origins < middle + pd.Timedelta(days=1)).sum())
    assert scored(since="2025-04-01T05:00", until="2025-04-01T05:00") == int((origins == "2025-04-01 05:00").sum())
    with pytest.raises(ConfigError, match="since 'May' is no time"):
        scored(since="May")


def test_the_board_as_text_json_and_picture(judged: Ledger, tmp_path: Path) -> None:
    board = judged.scoreboard()
    text = board.text().splitlines()
    assert text[0].split()[:3] == ["model", "series", "said"]
    assert text[1].split()[:5] == ["gauss", "all", "69", "68", "1"]
    assert text[2].startswith("gauss   crypto BTC/USDT 1h ")
    tree = json.loads(json.dumps(board.tree(), allow_nan=False))
    assert tree["rows"][0]["scored"] == 68
    assert set(tree["reliability"]) == {"gauss", "narrow"}
    figure = board.plot(tmp_path / "board.png")
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")
    ratios = {line.get_color(): line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 2}
    assert len(ratios) == 2
    assert max(np.mean(values) for values in ratios.values()) > 1.1


def test_an_empty_board_and_one_that_waits_can_be_shown(ledger: Ledger, clock: Clock, tmp_path: Path) -> None:
    assert ledger.scoreboard().frame.empty
    assert ledger.scoreboard().tree()["rows"] == []
    ledger.scoreboard().plot(tmp_path / "empty.svg")
    write(ledger, clock, BARS, 200)
    board = ledger.scoreboard()
    assert board.frame["waiting"].tolist() == [1]
    assert "-" in board.text()
    board.plot(tmp_path / "waits.png")
    assert board.reliability("gauss").empty


def test_models_of_one_name_are_told_apart_by_weights_and_calibration(ledger: Ledger, clock: Clock) -> None:
    clock.at(BARS, 200)
    ledger.add(forecast_of(BARS, 200), symbol="A", weights="0123456789abcdef")
    ledger.add(forecast_of(BARS, 200), symbol="A", weights="fedcba9876543210")
    ledger.add(forecast_of(BARS, 200), symbol="A", calibration="c0ffee00c0ffee")
    assert list(ledger.scoreboard().frame["model"]) == ["gauss + c0ffee00", "gauss@01234567", "gauss@fedcba98"]
