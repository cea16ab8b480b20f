"""`kronos evaluate paper`: the whole protocol of a small model, and one line for whatever is wrong."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import kronos
from kronos.cli import main
from kronos.evaluate.protocols.signals import read_signals
from reference import TRAINED, tiny_network, tiny_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer, network = tiny_tokenizer(normaliser="returns"), tiny_network(**TRAINED)
    network.record(pair=tokenizer.fingerprint(), name="tiny", cutoff="2024-01-31")
    tokenizer.save_pretrained(folder / "tokenizer")
    network.save_pretrained(folder / "predictor")
    return folder


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    (folder / "cn").mkdir()
    for number in range(6):
        frame = kronos.sample_bars("stock", rows=140, seed=number)
        frame.index = pd.date_range("2023-12-01", periods=140, freq="1D", name="timestamp")
        frame.to_csv(folder / "cn" / f"S{number}_1d.csv")
    return folder


def run(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, ["evaluate", "paper", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_protocol_from_the_command_line(model: Path, bars: Path, tmp_path: Path) -> None:
    (bars / "cn" / "BROKEN_1d.csv").write_text("timestamp,open,high,low,close\n2024-01-01,1,1,1,-1\n")
    words = ["--data", bars, "--models", f"mine={model},hv20", "--since", "2024-01-01", "--out", tmp_path / "out",
             "--samples", "2", "--baseline-samples", "20", "--origins", "6", "--dates", "3", "--device", "cpu",
             "--task", "price", "--task", "return", "--task", "signals"]  # fmt: skip
    first = run(*words)
    assert first.exit_code == 0, first.output
    for text in ("price", "return", "signals", "RankIC", "mine: path RankIC", "the best baseline, hv20", "± "):
        assert text in first.stdout, text
    assert "refused cn/BROKEN_1d" in first.stderr
    assert "1 cells: cn 1d" in first.stderr
    again = run(*words, "--json")
    summary = json.loads(again.stdout)
    assert set(summary["tasks"]) == {"price", "return", "signals"}
    assert summary["begin"] == "2024-02-01", "after the day that the model knows"
    assert summary["models"]["mine"]["cutoff"] == "2024-01-31"
    assert summary["models"]["mine"]["options"]["price"]["T"] == 0.6
    assert summary["models"]["hv20"]["options"]["price"] == {"samples": 20, "seed": 0}
    assert summary["left_out"]["refused"][0].startswith("cn/BROKEN_1d")
    figures = summary["tasks"]["price"]["mine"]["rank_ic"]
    assert figures["se"] > 0
    assert figures["origins"] == 36
    assert read_signals(tmp_path / "out" / "signals" / "mine.parquet").shape[1] == 6
    assert (tmp_path / "out" / "paper.png").is_file()


def test_what_is_wrong_is_told_in_a_line(model: Path, bars: Path, tmp_path: Path) -> None:
    late = run("--data", bars, "--models", model, "--since", "2024-01-01", "--until", "2024-01-20", "--out", tmp_path)
    assert late.exit_code == 1
    assert "--include-before-cutoff" in late.stderr
    assert [line.startswith("Error: no window lies after the cut-off") for line in late.stderr.splitlines()][-1]
    nobody = run("--data", bars, "--models", " , ", "--out", tmp_path)
    assert "names nobody" in nobody.stderr
    odd = run("--data", bars, "--since", "tomorrow", "--models", "hv20", "--out", tmp_path)
    assert "'tomorrow' is no date" in odd.stderr
    file = tmp_path / "file"
    file.write_text("")
    assert "this is a file" in run("--data", bars, "--models", "hv20", "--out", file).stderr
