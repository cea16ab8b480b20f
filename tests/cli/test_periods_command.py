"""`kronos evaluate periods` and `drift` from the command line: tables, files, JSON, long horizons, errors in a line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import kronos
from kronos.bars import Forecaster
from kronos.cli import main
from kronos.cli.evaluate_periods import Asked
from reference import TRAINED, tiny_network, tiny_tokenizer


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    kronos.sample_bars("crypto", rows=1000).to_csv(folder / "DOGEUSDT_1h.csv")
    kronos.sample_bars("crypto", rows=300, seed=5).to_csv(folder / "OTHER_1h.csv")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose context is far shorter than the windows here."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer, network = tiny_tokenizer(normaliser="returns"), tiny_network(**TRAINED, max_context=24)
    network.record(pair=tokenizer.fingerprint(), name="tiny")
    tokenizer.save_pretrained(folder / "tokenizer")
    network.save_pretrained(folder / "predictor")
    return folder


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reports draw takes longer than everything else, and has tests of its own."""
    rooms = "kronos.evaluate.protocols"
    monkeypatch.setattr(f"{rooms}.periods_report.draw_summary", lambda *arguments: arguments[-1].touch())
    monkeypatch.setattr(f"{rooms}.drift_report.draw_slopes", lambda *arguments: arguments[-1].touch())
    monkeypatch.setattr(f"{rooms}.drift_report.draw_lean", lambda *arguments: arguments[-1].touch())


def run(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, ["evaluate", *(str(word) for word in words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_periods_are_judged_drawn_and_printed(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--symbol", "DOGE/USDT", "--models", "hv20,drift", "--every", "week", "--bars", "100", "--samples", "20")
    done = run("periods", bars, *words, "--no-pictures", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1 series, ")
    for said in ("80 bars known, 20 predicted", "hv20: close correlation", "drift: direction", "next to nothing"):
        assert said in done.stdout
    assert f"wrote {out / 'report.html'}" in done.stderr
    table = pd.read_csv(out / "periods.csv")
    assert set(table["series"]) == {"DOGEUSDT_1h"}
    assert set(table["model"]) == {"hv20", "drift"}
    assert [path.name for path in (out / "pictures").iterdir()] == ["summary.png"]


def test_networks_go_beyond_their_context(bars: Path, tiny: Path, tmp_path: Path) -> None:
    words = ["periods", bars / "DOGEUSDT_1h.csv", "--models", tiny, "--samples", "2", "--bars", "40", "--share", "0.7"]
    words += ["--period", "start=2024-01-01..2024-01-06", "--no-pictures", "--json"]
    by_itself = json.loads(run(*words, "--out", tmp_path / "a").stdout)
    slid = json.loads(run(*words, "--read", "24", "--overflow", "slide", "--out", tmp_path / "b").stdout)
    for tree in (by_itself, slid):
        figures = tree["periods"][0]["models"][str(tiny)]
        assert np.isfinite(figures["crps"])
        assert tree["task"]["bars"] == 40
        assert tree["periods"][0]["period"] == "start"
    assert by_itself["periods"][0]["models"] != slid["periods"][0]["models"]
    assert pd.read_csv(tmp_path / "b" / "windows.csv")["read"].tolist() == [24]


def test_settings_come_from_a_file_and_options_are_stronger(bars: Path, tmp_path: Path) -> None:
    config = tmp_path / "task.yaml"
    config.write_text("every: year\nbars: 120\nsamples: 10\nwindows: 2\nhistory: before\n", encoding="utf-8")
    words = ("--models", "hv20", "--symbol", "DOGEUSDT", "--config", config, "--no-pictures", "--json")
    tree = json.loads(run("periods", bars, *words, "--windows", "3", "--out", tmp_path / "out").stdout)
    assert {key: tree["task"][key] for key in ("every", "bars", "windows", "history")} == {
        "every": "year",
        "bars": 120,
        "windows": 3,
        "history": "before",
    }
    assert tree["periods"][0]["windows"] == 3


def test_drift_is_measured_and_written(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "drift"
    words = ("--models", "hv20", "--lookbacks", "32,64", "--horizon", "6", "--steps", "1,6", "--trends", "20")
    done = run("drift", "--data", bars, *words, "--origins", "40", "--samples", "8", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    tree = json.loads(done.stdout)
    assert len(tree["slopes"]) == 2 * 2 * 2
    assert all(abs(row["said"]) < 0.5 for row in tree["slopes"])
    assert "the market went on by" in tree["verdict"][0]
    assert (out / "pictures" / "slopes.png").is_file()
    assert "from 64 bars" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("periods", "BARS", "--models", "hv20,hv20"), "a name is given twice"),
        (("periods", "BARS", "--models", ","), "names nobody"),
        (("periods", "BARS", "--models", "hv20", "--period", "may"), "NAME=SINCE..UNTIL"),
        (("periods", "BARS", "--models", "hv20", "--bars", "20"), "at least 24 are needed"),
        (("periods", "BARS", "--models", "hv20", "--bars", "4000"), "no period has room"),
        (("periods", "BARS/none", "--models", "hv20"), "none"),
        (("drift", "--data", "BARS", "--models", "hv20", "--lookbacks", "64,x"), "whole numbers"),
        (("drift", "--data", "BARS", "--models", "hv20", "--lookbacks", "2000"), "no window of 2001"),
    ],
)
def test_what_is_wrong_is_one_line(words: tuple[str, ...], said: str, bars: Path, tmp_path: Path) -> None:
    done = run(*(word.replace("BARS", str(bars)) for word in words), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_options_reach_the_network_and_the_rest_is_the_protocols() -> None:
    class Model:
        name = "model"

        def forecast(self, data: object, horizon: int, **options: object) -> object:
            return options

    asked = Asked(Model(), {"overflow": "slide"})  # type: ignore[arg-type]
    assert isinstance(asked, Forecaster)
    assert asked.name == "model"
    assert asked.forecast([], 5, samples=7) == {"overflow": "slide", "samples": 7, "seed": 0, "y_timestamp": None}
