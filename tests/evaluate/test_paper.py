"""The paper's protocol: its windows and settings reach the forecasters, its figures are right, and runs go on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from paper_walkers import SIGMA, Listener, Prophet, Walker, series

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.errors import BarsError, ConfigError, SourceError
from kronos.evaluate.protocols.paper import Paper
from kronos.evaluate.protocols.paper_rollouts import Progress, aligned, roll_out
from kronos.evaluate.protocols.paper_store import file_name
from kronos.evaluate.protocols.paper_tasks import SHAPES, Entrant, PaperSettings, begin_of, gather, read_all
from kronos.evaluate.protocols.paper_words import told, verdicts


@pytest.fixture(scope="module")
def market() -> list[Series]:
    hours = [series(f"crypto/C{i}_1h", seed=i) for i in range(3)]
    days = [series(f"cn/S{i}_1d", rows=330, timeframe="1d", seed=10 + i, start="2024-01-01") for i in range(6)]
    return [*hours, *days]


def settings(**changes: Any) -> PaperSettings:
    return PaperSettings.of({"dates": 8, "baseline_samples": 20, **changes})


# What is judged -------------------------------------------------------------------------------------------------------


def test_windows_are_the_papers_and_share_no_predicted_bar(market: list[Series]) -> None:
    found = gather(market, settings(), [])
    assert [cell.name for cell in found.cells] == ["cn 1d", "crypto 1h"]
    for cell in found.cells:
        lookback, horizon = SHAPES[cell.timeframe]
        assert (cell.windows.lookback, cell.windows.length) == (lookback, lookback + horizon)
        trials = cell.trials(0)
        spoken = [
            (str(series_name), time)
            for i, series_name in enumerate(trials.places()["series"])
            for time in trials.future_times(i)
        ]
        assert len(set(spoken)) == len(spoken) == len(trials) * horizon
        assert min(time for _, time in spoken) >= pd.Timestamp("2024-07-01")
        # all that there is room for: less than a horizon is left over between neighbours on average
        assert len(trials) == sum(-(-int(count) // horizon) for count in cell.windows.counts)
        assert len(cell.trials(2)) == 2 * len(cell.windows.series)


def test_what_cannot_be_judged_is_left_out_by_name(market: list[Series]) -> None:
    turns = series("crypto/TWO_1h", rows=2000).frame()
    turns.iloc[100:1900:17, :4] *= 1.3
    odd = Series.of(turns, "crypto/TWO_1h")
    strange, old = series("crypto/X_30m", timeframe="30m"), series("us/OLD_1h", start="2020-01-01")
    short = series("crypto/Y_1h", rows=60, start="2024-07-01")
    found = gather([*market, odd, strange, old, short], settings(), [])
    names = {name: reason for reason, some in found.left_out.items() for name in some}
    assert set(names) == {"crypto/TWO_1h", "crypto/X_30m", "us/OLD_1h", "crypto/Y_1h"}
    assert "two contracts" in names["crypto/TWO_1h"]
    assert "paper's table" in names["crypto/X_30m"]
    assert "crypto/TWO_1h" in "\n".join(found.told())


def test_days_that_an_entrant_was_trained_on_are_not_predicted(market: list[Series]) -> None:
    knows = Entrant("m", Walker(), sampled=True, cutoff="2024-09-30")
    assert begin_of(settings(), [knows]) == "2024-10-01"
    assert begin_of(settings(), [Entrant("m", Walker(), cutoff="2023-12-31")]) == "2024-07-01"
    found = gather(market, settings(), [knows])
    assert [cell.name for cell in found.cells] == ["cn 1d"]
    trials = found.cells[0].trials(0)
    assert min(trials.future_times(i)[0] for i in range(len(trials))) >= pd.Timestamp("2024-10-01")
    late = Entrant("late", Walker(), sampled=True, cutoff="2025-06-30")
    with pytest.raises(ConfigError, match=r"cut-off of late \(2025-06-30\).*--include-before-cutoff"):
        gather(market, settings(), [knows, late])
    asked = settings(include_before_cutoff=True)
    assert len(gather(market, asked, [late]).cells) == 2
    rows = roll_out(Entrant("m", Walker(), cutoff="2024-07-10"), gather(market, asked, []).cells, "price", asked)
    assert rows["before_cutoff"].equals(rows["time"] < pd.Timestamp("2024-07-11"))
    assert 0 < rows["before_cutoff"].mean() < 1


def test_the_settings_of_each_task_reach_networks_and_not_baselines(market: list[Series]) -> None:
    cells = gather(market, settings(origins=1), []).cells
    wanted = {"price": (0.6, 0.9, 10), "return": (0.6, 0.9, 10), "volatility": (0.9, 0.9, 1)}
    for task, (T, top_p, samples) in wanted.items():
        network, baseline = Walker(), Walker()
        roll_out(Entrant("m", network, sampled=True), cells, task, settings(origins=1))
        assert network.asked[-1] == {
            "lookback": 80, "horizon": 12, "samples": samples, "T": T, "top_p": top_p, "overflow": "exact",
        }  # fmt: skip
        roll_out(Entrant("b", baseline), cells, task, settings(origins=1))
        assert baseline.asked[-1] == {"lookback": 80, "horizon": 12, "samples": 20}


# What is measured -----------------------------------------------------------------------------------------------------


def test_one_who_knows_is_perfect_and_one_who_does_not_has_no_skill(market: list[Series], tmp_path: Path) -> None:
    tasks = ["price", "return", "volatility", "signals"]
    entrants = [Entrant("prophet", Prophet(market), sampled=True), Entrant("walker", Walker())]
    summary = Paper(settings(tasks=tasks, origins=14), entrants, tmp_path).run(market)
    found = summary["tasks"]
    for task, measure in (("price", "ic"), ("price", "rank_ic"), ("return", "ic"), ("return", "rank_ic"),
                          ("volatility", "r2"), ("signals", "rank_ic")):  # fmt: skip
        knows, not_ = found[task]["prophet"][measure], found[task]["walker"][measure]
        assert knows["value"] > (0.999 if task != "signals" else 0.7), (task, measure)  # a mean is not the end
        if task != "volatility":
            assert abs(not_["value"]) < 4 * not_["se"] + 0.02, (task, measure)
    assert found["volatility"]["prophet"]["mae"]["value"] < 1e-6
    # realised variance does not vary much here: a constant guess is about as good as their mean
    assert abs(found["volatility"]["walker"]["r2"]["value"]) < 0.3
    assert found["price"]["walker"]["rank_ic"]["cells"] == 2
    said = summary["verdicts"]["price"]["prophet"]
    assert "better than the best baseline, walker" in said
    assert (tmp_path / "paper.png").read_bytes().startswith(b"\x89PNG")
    text = told(summary)
    assert "RankIC" in text
    assert "walker" in text


def test_said_and_came_are_those_of_the_definitions(market: list[Series]) -> None:
    asked = settings(origins=2)
    cells = gather(market, asked, []).cells[1:]
    rows = roll_out(Entrant("w", Walker(drift=0.002)), cells, "return", asked)
    row = rows.iloc[0]
    whole = next(one for one in market if one.name == row["series"])
    at = int(np.searchsorted(whole.times, np.datetime64(row["time"])))
    closes = whole.bars[:, CLOSE]
    assert whole.times[at - 1] == np.datetime64(row["origin"])
    assert row["came_return"] == pytest.approx(closes[at + 11] / closes[at - 1] - 1)
    assert row["came_variance"] == pytest.approx(np.square(np.diff(np.log(closes[at - 1 : at + 12]))).sum())
    assert row["said_variance"] == pytest.approx(12 * (SIGMA**2 + 0.002**2), rel=0.2)
    past = whole.cut(at - 80, at).frame()
    made = Walker(drift=0.002).forecast(
        [past], 12, samples=20, y_timestamp=[pd.DatetimeIndex(whole.times[at : at + 12])]
    )
    mean = made[0].paths[..., CLOSE].mean(axis=0)
    assert row["said_return"] == pytest.approx(mean[-1] / closes[at - 1] - 1)
    assert row["path_ic"] == pytest.approx(np.corrcoef(mean, closes[at : at + 12])[0, 1])


def test_origins_at_which_one_fails_leave_the_comparison_for_all(market: list[Series]) -> None:
    asked = settings()
    cells = gather(market, asked, []).cells
    whole = roll_out(Entrant("w", Walker()), cells, "price", asked)
    hours = whole[whole["timeframe"] == "1h"]
    listener = Listener()
    missed = int((hours["origin"] == hours["origin"].iloc[3]).sum())
    few = Walker(fails=[hours["origin"].iloc[3]])
    rows = {"w": whole, "few": roll_out(Entrant("few", few), cells, "price", asked, listener)}
    assert f"few failed at {missed} of 210 origins (crypto 1h {missed})" in listener.lines[-1]
    assert rows["few"]["said_return"].isna().sum() == missed
    kept = aligned(rows)
    assert len(kept["w"]) == len(kept["few"]) == len(whole) - missed
    many = Walker(fails=set(hours["origin"]) - set(whole.loc[whole["timeframe"] == "1d", "origin"]))
    kept = aligned({"w": whole, "many": roll_out(Entrant("many", many), cells, "price", asked)})
    assert len(kept["w"]) == len(whole), "who fails at most origins of a cell takes none from the others"
    assert set(kept["many"]["timeframe"]) == {"1d"}


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture takes most of the time of a small run."""
    monkeypatch.setattr("kronos.evaluate.protocols.paper.draw_paper", lambda *given: None)


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(market: list[Series], tmp_path: Path) -> None:
    asked = settings(tasks=["price", "volatility", "signals"], origins=10, dates=3)

    def run(folder: Path, *forecasters: Walker) -> dict[str, Any]:
        names = ("m", "b")
        entrants = [Entrant(n, f, sampled=n == "m") for n, f in zip(names, forecasters, strict=True)]
        return Paper(asked, entrants, folder).run(market)

    straight = run(tmp_path / "straight", Walker(), Walker())
    with pytest.raises(RuntimeError, match="went down"):
        run(tmp_path / "stopped", Walker(), Walker(breaks_after=3))
    again = (Walker(), Walker())
    assert run(tmp_path / "stopped", *again) == straight
    assert not [one for one in again[0].asked if one["T"] == 0.6 and one["horizon"] == 12], (
        "done before, not done again"
    )
    idle = (Walker(), Walker())
    assert run(tmp_path / "stopped", *idle) == straight
    assert not idle[0].asked
    assert not idle[1].asked
    assert json.loads((tmp_path / "stopped" / "summary.json").read_text()) == straight
    table = pd.read_parquet(tmp_path / "stopped" / "figures.parquet")
    columns = ["task", "model", "market", "timeframe", "measure", "value", "se", "origins", "cells"]
    assert list(table.columns) == columns


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_another_run_is_refused(market: list[Series], tmp_path: Path) -> None:
    asked = settings(tasks=["price"], origins=12)
    Paper(asked, [Entrant("m", Walker(), fingerprint="a")], tmp_path).run(market)
    with pytest.raises(ConfigError, match="origins was 12 and is 11"):
        Paper(asked.model_copy(update={"origins": 11}), [Entrant("m", Walker(), fingerprint="a")], tmp_path).run(market)
    with pytest.raises(ConfigError, match="another m; call this one label=PLACE"):
        Paper(asked, [Entrant("m", Walker(), fingerprint="b")], tmp_path).run(market)
    with pytest.raises(ConfigError, match="bars was"):
        Paper(asked, [Entrant("m", Walker(), fingerprint="a")], tmp_path).run(market[:-1])
    more = [Entrant("m", Walker(), fingerprint="a"), Entrant("n", Walker(drift=0.01), fingerprint="c")]
    both = Paper(asked.model_copy(update={"tasks": ("price", "return")}), more, tmp_path).run(market)
    assert set(both["tasks"]["return"]) == {"m", "n"}, "other tasks and more models may come"
    (tmp_path / "rollouts" / "samples20" / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match="delete it"):
        Paper(asked, more, tmp_path).run(market)


def test_nobody_and_two_of_one_name_are_refused(market: list[Series], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody to judge"):
        Paper(settings(), [], tmp_path).run(market)
    with pytest.raises(ConfigError, match="two models are called m"):
        Paper(settings(), [Entrant("m", Walker()), Entrant("m", Walker())], tmp_path).run(market)


def test_too_few_origins_give_no_figure_and_a_word(market: list[Series], tmp_path: Path) -> None:
    listener = Listener()
    summary = Paper(settings(tasks=["price"], origins=1), [Entrant("m", Walker())], tmp_path, listener).run(market)
    assert summary["tasks"] == {}
    assert told(summary).startswith("no figures")
    assert any("too few for a figure: cn 1d, crypto 1h" in line for line in listener.lines)


def test_an_entrant_tells_what_it_is() -> None:
    class Told(Walker):
        def _one(self, *given: Any) -> Forecast:
            made = super()._one(*given)
            return Forecast(made.paths, made.timestamps, made.last_close, meta={"cutoff": "2025-06-30"})

    one = Entrant.of("m", Told(), sampled=True)
    assert (one.cutoff, one.sampled) == ("2025-06-30", True)
    assert one.fingerprint == Entrant.of("m", Told()).fingerprint != Entrant.of("m", Told(drift=0.1)).fingerprint
    assert Entrant.of("w", Walker()).cutoff is None


def test_a_bad_file_stops_no_folder(tmp_path: Path, market: list[Series]) -> None:
    for one in (market[0], market[3]):
        path = tmp_path / f"{one.name}.csv"
        path.parent.mkdir(exist_ok=True)
        one.frame().to_csv(path)
    broken = market[0].frame()
    broken.iloc[5, 3] = -1.0
    broken.to_csv(tmp_path / "crypto" / "BAD_1h.csv")
    found, refused = read_all(PaperSettings(data=(str(tmp_path),)))
    assert sorted(one.name for one in found) == ["cn/S0_1d", "crypto/C0_1h"]
    assert list(refused) == ["crypto/BAD_1h"]
    assert [one.name for one in read_all(PaperSettings(data=(str(tmp_path),), markets=("cn",)))[0]] == ["cn/S0_1d"]
    assert [one.name for one in read_all(PaperSettings(data=(str(tmp_path),), symbols=("c0",)))[0]] == ["crypto/C0_1h"]
    with pytest.raises(SourceError, match="no series"):
        read_all(PaperSettings(data=(str(tmp_path),), timeframes=("5m",)))


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "value", "error", "words"),
    [
        ("price", 0.03, 0.01, "above 0 by 3.0 standard errors"),
        ("price", 0.019, 0.01, "no evidence that it is not 0"),
        ("signals", -0.03, 0.01, "below 0 by 3.0 standard errors"),
        ("price", 0.03, float("nan"), "too little to tell"),
        ("generation", 0.29, 0.01, "the network sees which is which 71% of the time"),
        ("generation", 0.49, 0.01, "the network cannot tell it from the market"),
    ],
)
def test_verdicts_at_the_borders(task: str, value: float, error: float, words: str) -> None:
    measure = "discriminative" if task == "generation" else "rank_ic"
    place = {"task": task, "model": "m", "market": "all", "timeframe": "all", "measure": measure}
    table = pd.DataFrame([{**place, "value": value, "se": error, "origins": 200.0, "cells": 2.0}])
    found = verdicts(table, {}, [Entrant("m", Walker(), sampled=True)])
    assert words in found[task]["m"]


@pytest.mark.usefixtures("undrawn")
def test_who_spoke_in_fewer_cells_is_no_rival(market: list[Series], tmp_path: Path) -> None:
    """A baseline that needs more bars than a day's window has would otherwise win by the cells that it leaves out."""

    class Choosy(Walker):
        def forecast(self, data: Any, *given: Any, **options: Any) -> Any:
            if len(data[0]) < 80:
                raise BarsError("too few bars for me")
            return super().forecast(data, *given, **options)

    entrants = [Entrant("m", Walker(), sampled=True), Entrant("b", Walker(0.001)), Entrant("choosy", Choosy())]
    summary = Paper(settings(tasks=["return"], origins=14), entrants, tmp_path).run(market)
    assert summary["tasks"]["return"]["choosy"]["rank_ic"]["cells"] == 1
    assert "the best baseline, b" in summary["verdicts"]["return"]["m"]
    assert "choosy spoke in 1 of 2 cells" in told(summary)


def test_progress_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 20.0, 100.0])
    monkeypatch.setattr("kronos.evaluate.protocols.paper_rollouts.time.monotonic", lambda: next(clock))
    listener = Listener()
    progress = Progress("m price", 40, listener)
    for _ in range(3):
        progress.add(10)
    assert listener.lines == ["m price: 20 of 40, about 0.3 min left", "m price: 30 of 40, about 0.6 min left"]


def test_files_are_named_after_models() -> None:
    assert file_name("nano") == "nano"
    names = {file_name("chronos:a/b"), file_name("chronos:a_b"), file_name("../x"), file_name("/x")}
    assert len(names) == 4
    assert all("/" not in name and not name.startswith(".") for name in names)
