"""`kronos train` from the command line: a run, its table, going on, and one line for whatever is wrong."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

import kronos
from kronos.cli import main
from kronos.cli.console import Console
from kronos.train import Comparison, Progress
from reference import TRAINED, tiny_network, tiny_tokenizer

QUICK = [
    "lookback=12", "horizon=4", "batch=4", "validation_windows=4", "score.test_origins=3", "score.test_samples=3",
    "tokenizer.steps=2", "predictor.steps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer, network = tiny_tokenizer(normaliser="returns"), tiny_network(**TRAINED)
    network.record(pair=tokenizer.fingerprint(), name="tiny")
    tokenizer.save_pretrained(folder / "tokenizer")
    network.save_pretrained(folder / "predictor")
    return folder


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bars") / "dogé bars_1h.csv"  # a blank and what is not ASCII: it passes through YAML
    kronos.sample_bars("crypto", rows=220).to_csv(file)
    return file


def run(*words: str | Path, settings: list[str] | None = None) -> Result:
    given = [word for one in QUICK + (settings or []) for word in ("--set", one)]
    result = CliRunner().invoke(main, ["train", "finetune", *(str(word) for word in words), *given])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def done(base: Path, bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("runs") / "tuned"
    return out, run("--data", bars, "--base", base, "--out", out, "--device", "cpu")


def test_a_run_tells_of_itself_and_prints_its_table(done: tuple[Path, Result], bars: Path) -> None:
    out, first = done
    assert first.exit_code == 0, first.output
    lines = first.stdout.splitlines()
    assert lines[0].split()[0] == "crps"
    assert [line.split()[0] for line in lines[1:4]] == ["hv20", "base", "tuned"]
    assert "too few windows to say whether tuning helped" in lines[4]
    assert lines[5:] == [f"wrote {out}: kronos.load({str(out)!r}) forecasts with it"]
    for words in ("1 series, 220 bars", "tokenizer: trains", "predictor step 2/2", "ended after step 2 (all steps)"):
        assert words in first.stderr
    assert yaml.safe_load((out / "settings.yaml").read_text(encoding="utf-8"))["data"] == [str(bars)]


def test_the_same_command_again_prints_the_same(done: tuple[Path, Result], base: Path, bars: Path) -> None:
    out, first = done
    again = run("--data", bars, "--base", base, "--out", out)
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    assert "this run is done; these are its results" in again.stderr
    assert "step" not in again.stderr
    tree = json.loads(run("--data", bars, "--base", base, "--out", out, "--json").stdout)
    assert tree == json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert str(Comparison.of(tree)).splitlines() == first.stdout.splitlines()[:5]


def test_the_result_is_drawn_and_forecasts(done: tuple[Path, Result], bars: Path, tmp_path: Path) -> None:
    out, made = done[0], tmp_path / "forecast"
    drawn = CliRunner().invoke(main, ["train", "plot", str(out)])
    assert drawn.output == f"wrote {out / 'training.png'}\n"
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    words = ["forecast", bars, "--model", out, "--horizon", 4, "--samples", 3, "--out", made]
    assert CliRunner().invoke(main, [str(word) for word in words]).exit_code == 0
    assert len(pd.read_csv(made / "forecast.csv")) == 4


def test_the_file_is_weaker_than_the_command_line(base: Path, bars: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        f'data = ["nowhere"]\nbase = "{base.as_posix()}"\nname = "ours"\nseed = 3\n[predictor]\nlr = 0.5\n'
    )
    none = ["tokenizer.tuning.what=none", "predictor.lr=1.0e-3"]
    result = run("--config", config, "--data", bars, "--out", tmp_path / "out", "--threads", "1", settings=none)
    assert result.exit_code == 0, result.output
    tree = yaml.safe_load((tmp_path / "out" / "settings.yaml").read_text(encoding="utf-8"))
    assert (tree["data"], tree["seed"], tree["predictor"]["lr"]) == ([str(bars)], 3, 1e-3)
    assert kronos.load(tmp_path / "out").name == "ours"
    assert torch.get_num_threads() == 1


def test_a_folder_of_bars(base: Path, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    for seed, symbol in enumerate(("BTC", "ETH")):
        kronos.sample_bars("crypto", rows=220, seed=seed).to_csv(tmp_path / "bars" / f"{symbol}_1h.csv")
    chosen = ["split.hold_out=[ETH]", "tokenizer.tuning.what=none"]
    result = run("--data", tmp_path / "bars", "--base", base, "--out", tmp_path / "out", settings=chosen)
    assert result.exit_code == 0, result.output
    assert "2 series, 440 bars" in result.stderr
    summary = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert summary["split"]["held_out"] == ["ETH"]
    assert summary["split"]["parts"]["train"]["series"] == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["predictor.stepz=3"], ["predictor.stepz", "unknown key", "did you mean 'steps'"]),
        (["bass=nano"], ["bass", "did you mean 'base'"]),
        (["nonsense"], ["nonsense", "KEY=VALUE"]),
        (["augment=[{kind: nois}]"], ["unknown augmentation 'nois'", "noise, scale, warp, invert"]),
        (["horizon=24", "lookback=400"], ["the part 'train' is empty", "400 + 24", "220 rows", "lower lookback"]),
        (["symbols=[DOGE]"], ["no series of symbol DOGE"]),
        (["split.hold_out=[DOGE]"], ["hold_out: no series of 'DOGE'"]),
        (["predictor.tuning.freeze=[haed]"], ["'haed' names no weight", "did you mean 'head'"]),
    ],
)
def test_wrong_settings_get_one_line(
    settings: list[str], words: list[str], base: Path, bars: Path, tmp_path: Path
) -> None:
    refused(run("--data", bars, "--base", base, "--out", tmp_path / "out", settings=settings), words)
    assert not (tmp_path / "out").exists()


def test_wrong_places_get_one_line(base: Path, bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(run("--base", base, "--out", out), ["no data", "--data"])
    refused(run("--data", tmp_path / "none.csv", "--base", base, "--out", out), ["none.csv"])
    refused(run("--data", bars, "--base", "nanoo", "--out", out), ["'nanoo' is neither a folder nor one of nano"])
    refused(run("--data", bars, "--base", base, "--out", out, "--device", "abacus"), ["abacus"])
    refused(run("--data", bars, "--base", base, "--out", out, "--config", tmp_path / "no.yaml"), ["no.yaml"])
    refused(run("--data", bars, "--base", base, "--out", bars), ["this is a file; name a folder"])
    refused(run("--data", bars, "--base", base, "--out", bars.parent), ["something else than a training run"])
    assert not out.exists()
    empty = CliRunner().invoke(main, ["train", "plot", str(tmp_path)])
    refused(empty, ["no metrics.jsonl", "name the folder of a run"])


def test_unknown_keys_in_a_file_name_the_file(base: Path, bars: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("lookbak: 4\npredictor: {epoch: 3, tuning: {what: lore}}\n")
    words = ["mine.yaml", "lookbak: unknown key, did you mean 'lookback'", "did you mean 'epochs'", "what", "'lore'"]
    refused(run("--data", bars, "--base", base, "--out", tmp_path / "out", "--config", config), words)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [200, 84, 40])
def test_a_terminal_has_one_line_that_moves(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("kronos.cli.console._DRAWN_EVERY", 0.0)
    console = Console()
    for step in range(1, 5):
        console.tick(Progress("predictor", step, 4, 2.5, 1e-4, 12_345.6, 3700.0 - 1000 * step))
    console.say("ended")
    *drawn, last = screen.getvalue().split("\r")
    assert last == "ended\n"
    assert all(len(line) < columns for line in drawn), "a line that wraps is drawn again below itself"
    assert [("[" in line, line.startswith("predictor")) for line in drawn[1:5]] == [(columns > 40, True)] * 4
    if columns == 200:
        assert drawn[2].strip() == (
            "predictor [############            ] step 2/4  loss 2.5000  lr 0.0001  12,346 tokens/s  28m 20s left"
        )
        assert drawn[1].rstrip().endswith("45m 00s left")


def refused(result: Result, words: list[str]) -> None:
    assert result.exit_code == 1, result.output
    assert len(result.output.strip().splitlines()) == 1, result.output
    for word in words:
        assert word in result.output
