"""`kronos evaluate run`, `show` and `report`: results on one stream, everything else on the other, errors in a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contenders import put, walk
from kronos.cli.app import Root
from kronos.cli.contestants import find_contestant, labelled
from kronos.cli.evaluate import evaluate
from kronos.cli.evaluate_run import MODELS, Meter
from kronos.evaluate.benchmark.reporting import Progress
from kronos.evaluate.benchmark.results import read_results

QUICK = ("--lookback", 64, "--horizon", 6, "--baseline-samples", 50, "--workers", 1, "--metrics", "crps")
root = Root("kronos", commands={"evaluate": evaluate})


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(root, ["evaluate", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("bars"), m__a_1h=walk(400, 1), m__b_1h=walk(400, 2), m__short_1h=walk(50, 3))


@pytest.fixture(scope="module")
def judged(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("judged") / "out"
    result = run("run", "--data", place, "--models", "plain=hv20,ewma", *QUICK, "--out", out, "--no-report", "--json")
    return out, result


def test_json_is_all_that_is_printed(judged: tuple[Path, Result]) -> None:
    out, result = judged
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == ["plain", "ewma"]
    for figures in found.values():
        assert {"crps", "crps_se", "coverage50", "coverage90", "seconds", "origins"} == set(figures)
        assert figures["origins"] == 8
        assert 0.2 < figures["crps"] < 1.5
        assert 0 <= figures["coverage50"] <= figures["coverage90"] <= 1
    assert "8 origins in 2 series" in result.stderr
    assert "left out: 1 series because they are too short" in result.stderr
    assert "tripwires: 11 of 11 hold, at 8 origins" in result.stderr
    results = read_results(out)
    assert results.summary() == found
    assert (results.task.lookback, results.task.horizon, results.task.baseline_samples) == (64, 6, 50)
    assert results.facts["plain"]["options"] == {"place": "hv20", "baseline": True}
    assert results.facts["plain"]["samples"] == 50
    assert not (out / "report.html").exists()


def test_show_prints_the_table_best_first(judged: tuple[Path, Result]) -> None:
    out, result = judged
    found = json.loads(result.stdout)
    shown = run("show", out)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:3] == ["model", "CRPS", "+-"]
    best, worst = sorted(found, key=lambda name: found[name]["crps"])
    assert [line.split()[0] for line in lines[1:3]] == [best, worst]
    assert f"{found[best]['crps']:.4f}" in lines[1]
    assert json.loads(run("show", out, "--json").stdout) == found


def test_the_report_is_written_with_the_run_and_anew(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / "mine.yaml"
    task.write_text(f"name: mine\ndata: ['{place}']\nlookback: 64\nhorizon: 30\norigins: 3\nmetrics: [pit]\nseed: 5\n")
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("kronos.evaluate.benchmark.report.write_report", lambda results, out, **_: out / "drawn")
        result = run("run", task, "--models", "hv20", *QUICK, "--set", "origins=2", "--seed", 0, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"wrote {out / 'drawn'}" in result.stderr
    assert f"scores, summary and report: {out}" in result.stdout
    told = read_results(out).task
    assert (told.name, told.horizon, told.origins, told.seed) == ("mine", 6, 2, 0), "options are stronger than the file"
    assert run("report", out).stdout == f"wrote {out / 'report.html'}\n"
    assert "mine" in (out / "report.html").read_text(encoding="utf-8")


def test_what_tripped_is_an_error_and_the_results_stay(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = {"wire": "told", "model": "pipeline", "passed": False, "figure": 1.0, "error": 0.1, "origins": 8}
    monkeypatch.setattr(
        "kronos.evaluate.benchmark.runner.try_pipeline", lambda *_: [wire | {"sentence": "labels are wrong"}]
    )
    out = tmp_path / "out"
    few = ("--set", "origins=2", "--no-report", "--json")
    result = run("run", "--data", place, "--models", "hv20", *QUICK, *few, "--out", out)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["hv20"]["tripped"] == 1.0
    said = "Error: the tripwires say that these scores are worth nothing: pipeline, told: labels are wrong"
    assert result.stderr.splitlines()[-1] == said
    shown = run("show", out)
    assert shown.exit_code == 1
    assert shown.stderr.splitlines()[-1] == said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nonsense"], "nonsense: no such file, and no task of the package ("),
        (["run", "--models", "hv20"], "there are no bars to judge on: name a file, a folder, a lake or a pack (--data"),
        (["run", "--data", "no-such", "--models", "hv20"], "no-such: no such file or folder"),
        (["run", "--models", ",", "--data", "x"], "there is nobody to judge"),
        (["run", "--set", "lookbak=3"], "lookbak: unknown key, did you mean 'lookback'?"),
        (["run", "--since", "soon"], "'soon' is no date"),
        (["show", "no-such"], "no-such: no benchmark is here"),
        (["report", "no-such"], "no-such: no benchmark is here"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stdout == ""
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1


def test_names_and_labels() -> None:
    assert labelled("nano") == ("nano", "nano")
    assert labelled("tuned=runs/1") == ("tuned", "runs/1")
    assert labelled("runs/a=1") == ("runs/a=1", "runs/a=1"), "a folder's name may hold the sign"
    assert labelled("chronos:a=b") == ("chronos:a=b", "chronos:a=b")
    garch = find_contestant("garch", 70, {"device": "cpu"})
    assert (garch.name, garch.parallel, garch.is_baseline) == ("garch", True, True)
    assert "device" not in garch.options
    rival = find_contestant("bolt=chronos:some/where", 70, {})
    assert (rival.name, rival.parallel, rival.is_baseline) == ("bolt", False, True)
    assert rival.options["samples"] == 70, "it is slow: as many paths as the networks"
    tuned = find_contestant("tuned=runs/1", 70, {"calibration": None, "device": "cpu"})
    assert (tuned.name, tuned.parallel, tuned.is_baseline) == ("tuned", False, False)
    assert tuned.options == {"place": "runs/1", "calibration": None, "device": "cpu", "baseline": False}
    assert {name for name in MODELS.split(",") if find_contestant(name, 1, {}).is_baseline} == {
        "fhs", "garch", "ewma", "hv20",
    }  # fmt: skip


def test_a_log_hears_of_each_stage_and_then_now_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter()
    for stage in ("reading", "nano"):
        for done in range(1, 101):
            meter.tick(Progress(stage, done, 100, "forecasts", 100.0 - done))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "reading  1/100 forecasts  1m 39s left",
        "reading  100/100 forecasts  0s left",
        "nano  1/100 forecasts  1m 39s left",
        "nano  100/100 forecasts  0s left",
    ]
