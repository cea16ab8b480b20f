"""A benchmark is right where the law is known, the same after any kill, and honest about what it could not judge."""

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contenders import SIGMA, Fails, Listener, Recent, Walker, bars, candles, contestant, put, walk
from kronos.bars import Forecast
from kronos.bars.candles import CLOSE
from kronos.data import load_series
from kronos.errors import ConfigError, SourceError
from kronos.evaluate.benchmark import chunks, runner
from kronos.evaluate.benchmark.contestants import Contestant
from kronos.evaluate.benchmark.results import PLACE_COLUMNS, Results, plain, read_results
from kronos.evaluate.benchmark.runner import run
from kronos.evaluate.benchmark.task import Task
from kronos.evaluate.metrics.uncertainty import paired
from kronos.evaluate.scoring import score_forecast


def task(place: Path, **settings: Any) -> Task:
    few = {"lookback": 110, "samples": 40, "baseline_samples": 40, "tripwires": 0, "metrics": ["crps", "coverage"]}
    return Task.of({"data": [str(place)], **few, **settings})


def same(one: Results, other: Results) -> None:
    """Equal in everything but the time that it took."""
    left, right = (found.scores.drop(columns="seconds") for found in (one, other))
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    for facts, others in zip(one.facts.values(), other.facts.values(), strict=True):
        assert facts | {"seconds": 0} == others | {"seconds": 0}
    assert one.left_out == other.left_out
    assert plain(one.tripwires) == plain(other.tripwires)


# Figures --------------------------------------------------------------------------------------------------------------


def test_every_score_is_that_of_its_forecast_and_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TOGETHER", 4)  # so that batches are put together
    place = put(tmp_path / "bars", crypto__AA_1h=walk(400, 1), us__BB_1h=walk(500, 2))
    chosen = task(place, origins=3, seed=3, metrics=[])
    found = run(chosen, [contestant("w"), contestant("narrow", partial(Walker, SIGMA / 2))], tmp_path / "out")
    assert list(found.scores.columns[: len(PLACE_COLUMNS)]) == list(PLACE_COLUMNS)
    assert found.models == ["w", "narrow"]
    assert len(found.scores) == 12
    series = {one.name: one for one in load_series(place)}
    for row in found.scores.to_dict("records"):
        one = series[row["series"]]
        at = int(np.searchsorted(one.times, np.datetime64(row["time"])))
        assert np.datetime64(row["origin"]) == one.times[at - 1]
        assert (row["market"], row["asset"], row["timeframe"]) == (one.market, one.symbol.lower(), "1h")
        model = Walker(SIGMA if row["model"] == "w" else SIGMA / 2)
        past, truth = one.cut(at - 110, at), one.cut(at, at + 24)
        (made,) = model.forecast([past.frame()], 24, samples=40, seed=3, y_timestamp=[truth.frame().index])
        wanted = score_forecast(made, past.bars, truth.bars)
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, nan_ok=True)
    same(found, read_results(tmp_path / "out"))


def test_the_summary_is_what_the_issue_defines(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(900, 1), b=walk(900, 2))
    chosen = task(place, origins=10)
    found = run(chosen, [contestant("w")], tmp_path / "out").summary()["w"]
    series = {one.name: one for one in load_series(place)}
    scores, inside = [], []
    for row in pd.read_parquet(tmp_path / "out" / "origins.parquet").to_dict("records"):
        one = series[row["series"]]
        at = int(np.searchsorted(one.times, np.datetime64(row["time"])))
        past, truth = one.cut(at - 110, at), one.cut(at, at + 24)
        (made,) = Walker().forecast([past.frame()], 24, samples=40, seed=0, y_timestamp=[truth.frame().index])
        deviation = np.diff(np.log(past.bars[:, CLOSE]))[-100:].std()
        for h in (1, 6, 12, 24):
            paths = np.log(made.paths[:, h - 1, CLOSE] / past.bars[-1, CLOSE])
            came = np.log(truth.bars[h - 1, CLOSE] / past.bars[-1, CLOSE])
            apart = np.abs(paths[:, None] - paths).sum() / (40 * 39)  # of pairs of different paths
            scores.append((np.abs(paths - came).mean() - apart / 2) / (deviation * np.sqrt(h)))
            low, high = np.quantile(paths, (0.05, 0.95), method="weibull")
            inside.append(low <= came <= high)
    assert found["origins"] == 20
    assert found["crps"] == pytest.approx(np.mean(scores))
    assert found["coverage90"] == pytest.approx(np.mean(inside))
    assert set(found) == {"crps", "crps_se", "coverage50", "coverage90", "seconds", "origins"}
    assert found["seconds"] > 0


def garch(rows: int, seed: int) -> pd.DataFrame:
    """A market whose variance is 4e-6 + .26 x^2 + .7 variance, with normal shocks."""
    random, variance, moves = np.random.default_rng(seed), 1e-4, []
    for shock in random.normal(size=rows):
        moves.append(np.sqrt(variance) * shock)
        variance = 4e-6 + 0.26 * moves[-1] ** 2 + 0.7 * variance
    return bars(np.array(moves))


class Knows(Walker):
    """It knows the law of `garch`, and so the true distribution but for where the variance began; or one too narrow."""

    name = "knows"

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def moves(self, frame: pd.DataFrame, samples: int, horizon: int, random: np.random.Generator) -> np.ndarray:
        variance = 1e-4
        for change in np.diff(np.log(frame["close"].to_numpy())):
            variance = 4e-6 + 0.26 * change**2 + 0.7 * variance
        now, steps = np.full(samples, variance), []
        for shocks in random.normal(size=(horizon, samples)):
            steps.append(np.sqrt(now) * shocks)
            now = 4e-6 + 0.26 * steps[-1] ** 2 + 0.7 * now
        found: np.ndarray = self.factor * np.cumsum(steps, axis=0).T
        return found


def test_a_perfect_forecaster_covers_what_it_says_and_wins_and_an_overconfident_one_is_caught(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", **{f"m__g{seed}_1h": garch(1600, seed) for seed in range(42, 48)})
    who = [contestant("knows", Knows), contestant("sure", partial(Knows, 0.5)), contestant("hv", Recent)]
    found = run(task(place, lookback=110, origins=35, steps=[1, 5, 24]), who, tmp_path / "out")
    told = found.summary()
    assert told["knows"]["coverage90"] == pytest.approx(0.9, abs=0.025)
    assert told["knows"]["coverage50"] == pytest.approx(0.5, abs=0.04)
    assert told["sure"]["coverage90"] < 0.7
    assert min(told, key=lambda name: told[name]["crps"]) == "knows"
    for other in ("sure", "hv"):
        better, error = paired(found.figures(other), found.figures("knows"))
        assert better > 2 * error > 0
    # each origin's regime by its own look-back: calm ones lie in the lowest third
    regimes = found.scores.groupby("regime")["number"].nunique()
    assert regimes.to_dict() == {"calm": 70, "usual": 70, "wild": 70}


# Kills and resuming ---------------------------------------------------------------------------------------------------


def killed_after(writes: int, chosen: Task, who: list[Contestant], out: Path) -> int:
    """Run in a process that is killed when it is about to put one more file than this in place; how it ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = writes
    put_in_place = os.replace

    def replacing_or_dying(*names: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        put_in_place(*names)

    os.replace = replacing_or_dying  # type: ignore[assignment]
    status = 1
    try:
        run(chosen, who, out)
        status = 0
    finally:
        os._exit(status)


def test_killed_again_and_again_it_goes_on_and_ends_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TOGETHER", 2)
    place = put(tmp_path / "bars", a=walk(300, 1))
    chosen, who = task(place, tripwires=4), [contestant("w"), contestant("r", Recent)]
    whole = run(chosen, who, tmp_path / "whole")
    ends = [killed_after(1, chosen, who, tmp_path / "out")]
    while ends[-1]:  # each goes on where the one before was killed, and gets two files further
        ends.append(killed_after(2, chosen, who, tmp_path / "out"))
        assert len(ends) < 20
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) == 7, "what was inspected, origins, task, 2 contestants, 4 batches, 2 trials, scores, summary: 13"
    same(read_results(tmp_path / "out"), whole)
    names = sorted(str(one.relative_to(tmp_path / "out")) for one in (tmp_path / "out").rglob("*") if one.is_file())
    assert [name for name in names if ".tmp" not in name] == sorted(
        str(one.relative_to(tmp_path / "whole")) for one in (tmp_path / "whole").rglob("*") if one.is_file()
    )


def test_what_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TOGETHER", 3)
    place = put(tmp_path / "bars", a=walk(300, 1), b=walk(300, 2))
    out = tmp_path / "out"
    whole = run(task(place), [contestant("w")], out)
    (out / "scores" / "w" / "part-00001.parquet").unlink()
    heard = Listener()
    asked: list[int] = []

    class Counts(Walker):
        def forecast(self, data: Any, *rest: Any, **more: Any) -> Any:
            asked.append(len(data))
            return super().forecast(data, *rest, **more)

    (out / "summary.json").unlink()
    with pytest.raises(SourceError, match="not finished; the command that began it goes on"):
        read_results(out)
    same(run(task(place), [contestant("w", Counts)], out, reporter=heard), whole)
    assert asked == [1, 1, 3], "one that was made up, one to warm up, one batch of three"
    assert "2 of 3 batches of scores are there already" in heard.text
    # another contestant joins at the same origins
    more = run(task(place), [contestant("w"), contestant("r", Recent)], out)
    ours, theirs = (found.scores.drop(columns="seconds") for found in (more, whole))
    pd.testing.assert_frame_equal(ours[ours["model"] == "w"], theirs)
    assert more.models == ["w", "r"]


def test_what_does_not_belong_together_is_refused_with_the_difference(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(300, 1))
    out, who = tmp_path / "out", [contestant("w")]
    run(task(place), who, out)
    with pytest.raises(ConfigError, match=r"another task \(horizon 24 -> 12\); choose another folder, or --restart"):
        run(task(place, horizon=12), who, out)
    with pytest.raises(ConfigError, match=r"the scores of w .* \(samples 40 -> 41\)"):
        run(task(place, samples=41), who, out)
    with pytest.raises(ConfigError, match=r"the scores of w .* \(fingerprint \w+ -> \w+\)"):
        run(task(place), [contestant("w", partial(Walker, 0.02))], out)
    put(tmp_path / "bars", a=walk(300, 2))
    with pytest.raises(ConfigError, match=r"the bars around 2024-.* in a have changed"):
        run(task(place), who, out)
    put(tmp_path / "bars", b=walk(300, 2))
    with pytest.raises(ConfigError, match=r"begun at other origins: 0 of its 4 origins are not among the 8 of now"):
        run(task(place), who, out)
    anew = run(task(place, horizon=12), who, out, restart=True)
    assert len(anew.scores) == 8
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "letter.txt").write_text("dear")
    for restart in (False, True):
        with pytest.raises(ConfigError, match="holds something else than a benchmark"):
            run(task(place), who, tmp_path / "else", restart=restart)
    assert (tmp_path / "else" / "letter.txt").exists()
    with pytest.raises(SourceError, match="no benchmark is here"):
        read_results(tmp_path / "else")


def test_the_place_of_the_bars_may_change_where_the_bars_do_not(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(300, 1))
    first = run(task(place), [contestant("w")], tmp_path / "out")
    place.rename(tmp_path / "moved")
    again = run(task(tmp_path / "moved", name="other"), [contestant("w")], tmp_path / "out")
    same(first, again)
    assert read_results(tmp_path / "out").task.data == (str(tmp_path / "moved"),)


# Processes ------------------------------------------------------------------------------------------------------------


def test_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TOGETHER", 1)
    place = put(tmp_path / "bars", a=walk(300, 1))
    who = [contestant("w", parallel=True), contestant("own")]
    heard = Listener()
    alone = run(task(place, tripwires=4), who, tmp_path / "alone")
    shared = run(task(place, tripwires=4), who, tmp_path / "shared", workers=2, reporter=heard)
    same(alone, shared)
    assert shared.facts["w"]["cores"] == 1
    assert shared.facts["own"]["cores"] == os.cpu_count()
    stages = {tick.stage: tick for tick in heard.ticks}
    assert list(stages) == ["reading", "baselines", "own", "tripwires"]
    assert all(tick.done == tick.total and tick.seconds_left == 0 for tick in stages.values())
    assert (stages["baselines"].total, stages["own"].total, stages["tripwires"].total) == (4, 4, 2)


# Cut-offs -------------------------------------------------------------------------------------------------------------


def test_what_a_model_may_have_been_trained_on_is_left_out_for_all(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", new=walk(800, 1), old=walk(400, 2))
    baseline = contestant("b", Recent, options={"baseline": True})
    who = [contestant("w", partial(Walker, cutoff="2024-01-20")), contestant("r", Recent, cutoff="2023-05-05")]
    heard = Listener()
    found = run(task(place), who, tmp_path / "out", reporter=heard)
    assert (found.scores["time"] >= "2024-01-21").all()
    assert not found.scores["before_cutoff"].any()
    assert found.left_out == {"before_cutoff": ["old"]}
    assert "judged is what came after 2024-01-20, the cut-off of w" in heard.text
    assert "does not say" not in heard.text
    assert {name: facts["cutoff"] for name, facts in found.facts.items()} == {"w": "2024-01-20", "r": "2023-05-05"}
    numbers = found.scores.groupby("model")["number"].apply(list)
    assert numbers["w"] == numbers["r"] == [0, 1, 2, 3]
    every = run(
        task(place, include_before_cutoff=True), [*who, contestant("x"), baseline], tmp_path / "every", reporter=heard
    )
    assert heard.text.count("does not say until when it was trained") == 1
    assert "x does not say" in heard.text
    early = every.scores.set_index("model")["before_cutoff"]
    assert early["w"].tolist() == (every.scores.loc[every.scores["model"] == "w", "time"] < "2024-01-21").tolist()
    assert 0 < early["w"].sum() < 8
    assert not early["r"].any()
    assert "before_cutoff" not in every.left_out


def test_nothing_after_the_cutoff_names_it_and_the_option(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", old=walk(400, 2))
    with pytest.raises(ConfigError, match=r"anything after 2024-06-30, the cut-off .* --include-before-cutoff"):
        run(task(place), [contestant("w", partial(Walker, cutoff="2024-06-30"))], tmp_path / "out")


# Failures -------------------------------------------------------------------------------------------------------------


def test_where_one_fails_nobody_is_judged(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(1000, 1))
    chosen = task(place, origins=24)
    origins = run(chosen, [contestant("w")], tmp_path / "w").scores
    bad = origins.loc[7, "origin"]
    heard = Listener()
    both = [contestant("w"), contestant("f", partial(Fails, [bad]))]
    found = run(chosen, both, tmp_path / "out", reporter=heard)
    kept = origins[origins["origin"] != bad].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        found.scores[found.scores["model"] == "w"].drop(columns="seconds"),
        kept.drop(columns="seconds"),
        check_index_type=False,
    )
    (told,) = found.left_out["failed"]
    assert told == f"f: {origins.loc[7, 'series']} at {origins.loc[7, 'time']}: these bars are not to its taste"
    assert "left out: 1 origins at which a forecast failed" in heard.text
    assert {name: (facts["failed"], facts["origins"]) for name, facts in found.facts.items()} == {
        "w": (0, 23),
        "f": (1, 23),
    }
    # mended, the same command tries it again and nothing else
    mended = run(chosen, [contestant("w"), contestant("f", partial(Fails, []))], tmp_path / "out")
    assert len(mended.scores) == 48
    assert mended.left_out == {}


def test_who_fails_often_is_not_judged_at_all(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(700, 1))
    chosen = task(place, origins=20)
    origins = run(chosen, [contestant("w")], tmp_path / "w").scores["origin"]
    with pytest.raises(
        ConfigError, match=r"f has no forecast at 2 of 20 origins, more than 5%; the first is a at .*taste"
    ):
        run(chosen, [contestant("f", partial(Fails, origins[3:5]))], tmp_path / "out")
    with pytest.raises(SourceError, match="not finished"):
        read_results(tmp_path / "out")


def test_a_mistake_in_a_program_is_not_swallowed(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(300, 1))
    chosen = task(place)
    at = run(chosen, [contestant("w")], tmp_path / "w").scores["origin"][2:3]
    with pytest.raises(ZeroDivisionError, match="taste"):
        run(chosen, [contestant("f", partial(Fails, at, ZeroDivisionError))], tmp_path / "out")


class Elsewhere(Walker):
    """Its forecasts are of other bars than were asked for, or begin at another price."""

    def __init__(self, days: int, factor: float) -> None:
        super().__init__()
        self.days, self.factor = days, factor

    def one(self, frame: pd.DataFrame, *rest: Any) -> Forecast:
        made = super().one(frame, *rest)
        times = made.timestamps + pd.Timedelta(days=self.days)
        return replace(made, history=None, timestamps=times, last_close=made.last_close * self.factor)


@pytest.mark.parametrize(("days", "factor", "complaint"), [(1, 1.0, "it is of bars from"), (0, 1.01, "it begins at a")])
def test_a_forecast_of_something_else_is_a_failure(tmp_path: Path, days: int, factor: float, complaint: str) -> None:
    place = put(tmp_path / "bars", a=walk(300, 1))
    with pytest.raises(ConfigError, match=f"no forecast at 4 of 4 origins.*{complaint}"):
        run(task(place), [contestant("f", partial(Elsewhere, days, factor))], tmp_path / "out")


def test_who_is_judged_has_a_name_of_its_own(tmp_path: Path) -> None:
    place = put(tmp_path / "bars", a=walk(300, 1))
    with pytest.raises(ConfigError, match="there is nobody to judge"):
        run(task(place), [], tmp_path / "out")
    with pytest.raises(ConfigError, match="w is named twice"):
        run(task(place), [contestant("w"), contestant("w")], tmp_path / "out")
    odd = "chronos:a/b c"
    found = run(task(place), [contestant(odd)], tmp_path / "out")
    assert found.models == [odd]
    assert len(list((tmp_path / "out" / "scores").iterdir())) == 1


def test_a_forecaster_that_spoils_its_frames_spoils_nothing_else() -> None:
    class Spoils(Walker):
        def forecast(self, data: Any, *rest: Any, **more: Any) -> Any:
            made = super().forecast(data, *rest, **more)
            for frame in data:
                frame["close"] = 0.0
            return made

    frame = walk(110, 1)
    times = pd.date_range(frame.index[-1], periods=25, freq="1h")[1:]
    chunk = chunks.Chunk((0,), (frame,), (times,), (candles(np.full(24, 50.0), 50.0),))
    (row,) = chunks.score_chunk(Spoils(), chunk, chunks.Ask(24, 40, 0, (1,), ("crps",)))
    assert row["failed"] == ""
    assert (frame["close"] > 0).all()


def test_one_bad_past_does_not_cost_the_others() -> None:
    frame = walk(110, 1)
    times = pd.date_range(frame.index[-1], periods=25, freq="1h")[1:]
    other = frame.iloc[:-1]
    ask = chunks.Ask(24, 40, 0, (1,), None)
    made = chunks.forecasts(Fails([other.index[-1]]), [frame, other], [times, times], ask)
    assert isinstance(made[0], Forecast)
    assert made[1] == "these bars are not to its taste"
