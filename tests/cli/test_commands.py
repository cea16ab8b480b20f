"""The command line: every command has help and a place in the docs, and the main job runs end to end."""

import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from kronos.cli import main
from kronos.synth import sample_bars

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def commands(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*words, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*words, name))
    return found


@pytest.mark.parametrize(("words", "command"), [pytest.param(w, c, id=" ".join(w)) for w, c in commands(main)])
def test_every_command_and_option_is_explained(words: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    text = DOCS.read_text(encoding="utf-8")
    assert f"`kronos {' '.join(words)}" in text, "not in docs/cli.md"
    section = text.split(f"`kronos {' '.join(words)}", 1)[1].split("\n## ", 1)[0]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.name == "help", f"{option.name} has no help"
            assert max(option.opts, key=len) in section, f"{max(option.opts, key=len)} is not in docs/cli.md"
    assert run(*words, "--help").exit_code == 0


def test_the_demo_writes_what_it_says(tmp_path: Path) -> None:
    result = run("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "demo" / "forecast.csv", index_col=0, parse_dates=True)
    sample = pd.read_csv(tmp_path / "demo" / "sample.csv", index_col=0, parse_dates=True)
    assert len(table) == 24
    assert list(table.index) == list(sample.index[-24:]), "the future's times are those that really came"
    assert (table["close_q05"] < table["close_q50"]).all()
    assert (table["close_q50"] < table["close_q95"]).all()
    assert table["prob_up"].between(0.0, 1.0, inclusive="neither").all()
    assert (table["high"] >= table[["open", "close"]].max(axis=1)).all()
    assert (tmp_path / "demo" / "forecast.png").read_bytes().startswith(b"\x89PNG")
    lines = result.output.splitlines()
    assert lines[0].startswith("simulated market: 24 x 1h")
    assert len([line for line in lines if line.strip()[:2].strip().isdigit()]) == 24
    again = run("demo", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "forecast.csv").read_bytes() == (tmp_path / "demo" / "forecast.csv").read_bytes()
    assert again.exit_code == 0


def test_models_are_listed() -> None:
    rows = json.loads(run("models", "--json").output)
    assert [row["name"] for row in rows] == ["nano", "mini", "small", "base", "large"]
    nano, mini = rows[0], rows[1]
    assert nano["source"] == "this package"
    assert (mini["parameters"], mini["context"], mini["tokenizer"]) == (4108032, 2048, "NeoQuasar/Kronos-Tokenizer-2k")
    table = run("models").output
    assert "4,108,032" in table
    assert "not released" in table


CHINESE = {
    "timestamp": "日期", "open": "开盘价", "high": "最高价", "low": "最低价", "close": "收盘价",
    "volume": "成交量", "amount": "成交额",
}  # fmt: skip


def chinese_headers(path: Path) -> pd.DatetimeIndex:
    bars = sample_bars("stock", rows=90, timeframe="1d")
    bars.reset_index().rename(columns=CHINESE).to_csv(path, index=False, encoding="gbk")
    return weekdays_after(bars)


def epoch_milliseconds(path: Path) -> pd.DatetimeIndex:
    bars = sample_bars("crypto", rows=90, timeframe="15m")
    times = pd.DatetimeIndex(bars.index).as_unit("ms").asi8
    bars.reset_index(drop=True).assign(open_time=times).to_csv(path, index=False)
    return pd.date_range(bars.index[-1], periods=7, freq="15min")[1:]


def without_volume(path: Path) -> pd.DatetimeIndex:
    bars = sample_bars("crypto", rows=90, timeframe="4h")
    bars[["open", "high", "low", "close"]].to_csv(path)
    return pd.date_range(bars.index[-1], periods=7, freq="4h")[1:]


def daily_a_share(path: Path) -> pd.DatetimeIndex:
    bars = sample_bars("stock", rows=90, timeframe="1d")
    bars.reset_index().assign(timestamp=lambda b: b["timestamp"].dt.strftime("%Y%m%d")).to_csv(path, index=False)
    return weekdays_after(bars)


def round_the_clock(path: Path) -> pd.DatetimeIndex:
    bars = sample_bars("crypto", rows=90, timeframe="1d")
    bars.to_csv(path)
    return pd.date_range(bars.index[-1], periods=7, freq="D")[1:]


def weekdays_after(bars: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.bdate_range(bars.index[-1], periods=7)[-6:]


@pytest.mark.parametrize("make", [chinese_headers, epoch_milliseconds, without_volume, daily_a_share, round_the_clock])
def test_a_users_file_is_forecast_at_the_right_times(make: object, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    expected = make(path)  # type: ignore[operator]
    result = run("forecast", path, "--horizon", 6, "--samples", 8, "--out", tmp_path / "out", "--paths")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "forecast.csv", index_col=0, parse_dates=True)
    assert list(table.index[:5]) == list(expected[:5])
    assert np.isfinite(table.to_numpy()).all()
    assert (tmp_path / "out" / "forecast.npz").exists()
    if make is without_volume:
        assert (table["volume"] == 0).all()


def test_truth_holds_back_the_end(tmp_path: Path) -> None:
    bars = sample_bars("crypto", rows=120)
    bars.to_csv(tmp_path / "bars.csv")
    result = run("forecast", tmp_path / "bars.csv", "--horizon", 30, "--truth", "--samples", 8, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "forecast.csv", index_col=0, parse_dates=True)
    assert list(table.index) == list(bars.index[-30:])
    assert "truth" in result.output


def broken(column: str, value: object) -> pd.DataFrame:
    bars = sample_bars("crypto", rows=60).reset_index()
    bars[column] = bars[column].astype(object)
    bars.loc[41, column] = value
    return bars


BROKEN = {
    "not a number": (broken("close", ""), ["row 41", "close"]),
    "infinite": (broken("high", "inf"), ["row 41", "high"]),
    "words": (broken("open", "n/a?"), ["row 41", "open", "n/a?"]),
    "price of zero": (broken("low", 0.0), ["row 41", "low"]),
    "negative price": (broken("close", -5.0), ["row 41", "close"]),
    "high below low": (broken("high", 1.0), ["row 41", "high"]),
    "negative volume": (broken("volume", -1.0), ["row 41", "volume"]),
    "duplicate time": (broken("timestamp", sample_bars("crypto", rows=60).index[40]), ["row 41"]),
    "decreasing time": (broken("timestamp", "2001-01-01 00:00:00"), ["row 41"]),
    "unreadable time": (broken("timestamp", "yesterday-ish"), ["row 41", "yesterday-ish"]),
    "no close": (sample_bars("crypto", rows=60).drop(columns="close").reset_index(), ["close"]),
    "no time": (sample_bars("crypto", rows=60).reset_index(drop=True), ["time"]),
    "too few rows": (sample_bars("crypto", rows=60).reset_index().head(3), ["3 rows"]),
    "no rows": (sample_bars("crypto", rows=60).reset_index().head(0), ["no rows"]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_input_gets_one_line_that_names_the_place(kind: str, tmp_path: Path) -> None:
    frame, words = BROKEN[kind]
    path = tmp_path / "broken.csv"
    frame.to_csv(path, index=False)
    result = run("forecast", path, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1, result.output
    for word in ["broken.csv", *words]:
        assert word in result.output
    assert not (tmp_path / "out").exists(), "nothing half-written is left behind"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.csv"], ["missing.csv", "no such file"]),
        (["bars.xyz"], ["bars.xyz", "unknown kind"]),
        (["bars.csv", "--horizon", "0"], ["--horizon"]),
        (["bars.csv", "--samples", "0"], ["samples"]),
        (["bars.csv", "--model", "nanoo"], ["nanoo"]),
        (["bars.csv", "--temperature", "0"], ["temperature"]),
        (["bars.csv", "--calendar", "NISE"], ["NISE"]),
        (["bars.csv", "--device", "cuda:97"], ["cuda:97", "cannot be used"]),
        (["bars.csv", "--device", "abacus"], ["abacus", "cannot be used"]),
        (["bars.csv", "--out", "bars.csv"], ["bars.csv", "folder"]),
        (["bars.csv", "--truth", "--horizon", "70"], ["too few"]),
        (["empty.csv"], ["empty.csv", "no rows"]),
        (["garbage.csv"], ["garbage.csv"]),
        (["garbage.parquet"], ["garbage.parquet", "cannot be read"]),
    ],
)
def test_wrong_arguments_get_one_line(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sample_bars("crypto", rows=60).to_csv("bars.csv")
    Path("bars.xyz").write_text("x")
    Path("empty.csv").write_text("")
    Path("garbage.csv").write_bytes(bytes(range(256)) * 4)
    Path("garbage.parquet").write_bytes(b"PAR1 nothing")
    result = run("forecast", *arguments)
    assert result.exit_code == 1, result.output
    assert len(result.output.strip().splitlines()) == 1, result.output
    for word in words:
        assert word in result.output


def test_the_module_runs_too() -> None:
    done = subprocess.run([sys.executable, "-m", "kronos", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("kronos")


def test_pretraining_from_the_command_line(tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / "bars").mkdir(exist_ok=True)
        sample_bars("crypto", rows=1500, seed=seed).to_csv(tmp_path / "bars" / f"s{seed}.csv")
    (tmp_path / "small.yaml").write_text(
        "validation_windows: 8\nshapes: [{lookback: 16, horizon: 8, batch: 4}]\n"
        "tokenizer: {steps: 3, config: {d_model: 16, ff_dim: 16}}\n"
        "predictor: {steps: 3, config: {d_model: 16, ff_dim: 16}}\n"
    )
    out = tmp_path / "out"
    arguments = ["train", "pretrain", "--data", tmp_path / "bars", "--out", out, "--config", tmp_path / "small.yaml"]
    result = run(*arguments, "--set", "predictor.steps=4")
    assert result.exit_code == 0, result.output
    assert "step 4/4" in result.output
    assert (out / "training.json").exists()
    assert str(out / "predictor") in result.output
    forecast = run("forecast", tmp_path / "bars" / "s0.csv", "--model", out, "--samples", 2, "--out", tmp_path / "fc")
    assert forecast.exit_code == 0, forecast.output
    wrong = run(*arguments, "--set", "predictor.stepz=4")
    assert (wrong.exit_code, wrong.output.count("\n")) == (1, 1)
    assert "did you mean 'steps'" in wrong.output
