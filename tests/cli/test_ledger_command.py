"""`kronos ledger` as a user has it: a file or a lake in, forecasts written down, bars that come later, a scoreboard."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from kronos.bars import Forecast
from kronos.cli import main
from kronos.data import Key, Lake, Origin
from ledger_toys import forecast_of, market

BARS = market(400)


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["ledger", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(*arguments: str | Path) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KRONOS_LEDGER", raising=False)
    BARS.to_csv("BTC-USDT_1h.csv")


def test_a_files_forecast_is_written_down_and_scored_when_its_bars_come() -> None:
    BARS.iloc[:300].to_csv("crypto_ETHUSDT_1h.csv")
    refused = run("add", "crypto_ETHUSDT_1h.csv", "--model", "hv20")
    assert refused.exit_code == 1
    assert "--backfill" in refused.output
    assert not run("show").output.count("ETHUSDT")
    first = run("add", "crypto_ETHUSDT_1h.csv", "--model", "hv20", "--backfill", "--seed", "3")
    assert first.exit_code == 0, first.output
    assert (
        "is number 1 of ledger.db (backfilled): ETHUSDT 1h, 100 paths x 24 bars from 2025-03-13 12:00" in first.output
    )
    again = told("add", "crypto_ETHUSDT_1h.csv", "--model", "hv20", "--backfill", "--seed", "3")
    assert (again["added"][0]["new"], again["added"][0]["number"]) == (False, 1)
    assert "waiting backfilled" in run("show").output
    assert "1 wait for bars" in run("reconcile", "--data", "crypto_ETHUSDT_1h.csv").output
    BARS.to_csv("crypto_ETHUSDT_1h.csv")
    assert told("reconcile", "--data", "crypto_ETHUSDT_1h.csv")["scored"] == 1
    assert told("score")["backfilled_left_out"] == 1
    assert "no such forecast (1 backfilled ones" in run("score").output
    row = told("score", "--backfilled", "--plot", "board.png")["rows"][0]
    assert (row["model"], row["symbol"], row["market"], row["scored"]) == ("hv20", "ETHUSDT", "crypto", 1)
    assert Path("board.png").read_bytes().startswith(b"\x89PNG")
    table = run("score", "--backfilled").output
    assert table.splitlines()[1].split()[:4] == ["hv20", "crypto", "ETHUSDT", "1h"]


def test_a_saved_forecast_is_written_down_and_shown() -> None:
    made = forecast_of(BARS, 300, samples=30, model="mine", top_p=0.9)
    made.save("mine.npz")
    added = told("add", "mine.npz", "--symbol", "BTC/USDT", "--backfill")["added"][0]
    assert run("reconcile", "--data", "BTC-USDT_1h.csv").exit_code == 0
    shown = told("show", added["id"][:8], "--plot", "one.png")
    assert (shown["model"], shown["symbol"], shown["seed"], shown["marks"]) == ("mine", "BTC/USDT", 0, "backfilled")
    assert shown["outcomes"][0]["past"] == "same"
    median = [row["close_q50"] for row in shown["forecast"]]
    assert median == pytest.approx(list(made.median()["close"]), rel=1e-6)
    assert Path("one.png").exists()
    text = run("show", added["id"][:8]).output
    assert "came" in text
    assert "outcome 1" in text
    listed = told("show", "--model", "mine")["forecasts"]
    assert [row["id"] for row in listed] == [added["id"]]
    assert told("show", "--model", "other")["forecasts"] == []
    missing = run("show", "0123")
    assert missing.exit_code == 1
    assert "no forecast has an id that begins with 0123" in missing.output


def test_a_parquet_file_may_hold_a_forecast_or_bars() -> None:
    forecast_of(BARS, 300).save("said.parquet")
    BARS.reset_index().to_parquet("BTC_1h.parquet")
    assert told("add", "said.parquet", "--symbol", "BTC", "--backfill")["added"][0]["number"] == 1
    assert told("add", "BTC_1h.parquet", "--model", "ewma", "--backfill")["added"][0]["number"] == 2
    Path("broken.npz").write_bytes(b"no archive")
    broken = run("add", "broken.npz", "--symbol", "BTC")
    assert (broken.exit_code, "broken.npz is not a readable forecast" in broken.output) == (1, True)


def test_series_of_a_lake_are_forecast_together_and_reconciled_from_it() -> None:
    lake = Lake.open("lake", create=True)
    for symbol in ("BTC/USDT", "ETH/USDT"):
        lake.write(
            Key("binance", symbol, "1h"), BARS.iloc[:300].tz_localize("UTC"), Origin("test", "here"), market="crypto"
        )
    options = ("--lake", "lake", "--symbol", "BTC/USDT", "--symbol", "ETH/USDT", "--model", "hv20", "--backfill")
    assert [one["symbol"] for one in told("add", *options)["added"]] == ["BTC/USDT", "ETH/USDT"]
    for symbol in ("BTC/USDT", "ETH/USDT"):
        lake.write(Key("binance", symbol, "1h"), BARS.tz_localize("UTC"), Origin("test", "here"), market="crypto")
    assert told("reconcile", "--data", "lake")["scored"] == 2
    rows = told("score", "--backfilled")["rows"]
    assert [(row["symbol"], row["market"]) for row in rows] == [
        ("all", ""),
        ("BTC/USDT", "crypto"),
        ("ETH/USDT", "crypto"),
    ]


def test_the_embedded_model_says_who_it_is() -> None:
    result = told("add", "BTC-USDT_1h.csv", "--samples", "4", "--horizon", "2", "--backfill", "--lookback", "50")
    shown = told("show", result["added"][0]["id"][:12])
    assert shown["model"] == "kronos-nano"
    assert len(shown["weights"]) == 33  # of the network and of its tokenizer
    assert shown["cutoff"]
    assert shown["look-back"] == 50
    assert json.loads(shown["settings"])["top_k"] == 0


def test_a_check_finds_what_was_changed_and_ends_with_1() -> None:
    run("add", "BTC-USDT_1h.csv", "--model", "hv20", "--backfill")
    sound = told("check")
    assert sound["sound"]
    assert run("check", "--expect", sound["head"]).exit_code == 0
    with sqlite3.connect("ledger.db") as connection:
        connection.execute("DROP TRIGGER kronos_forecasts_kept_update")
        connection.execute("UPDATE kronos_forecasts SET model = 'oracle'")
    connection.close()
    found = run("check")
    assert found.exit_code == 1
    assert "row 1: was changed after it was written" in found.output
    assert "THIS LEDGER WAS CHANGED" in found.output


def test_the_ledger_is_named_by_the_environment_and_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRONOS_LEDGER", "other.db")
    assert "is number 1 of other.db" in run("add", "BTC-USDT_1h.csv", "--model", "hv20", "--backfill").output
    assert not Path("ledger.db").exists()
    monkeypatch.setenv("KRONOS_LEDGER", "postgresql://me:hunter2@127.0.0.1:1/x")
    refused = run("score")
    assert refused.exit_code == 1
    assert "hunter2" not in refused.output
    assert "hunter2" not in run("score", "--help").output
    monkeypatch.setenv("KRONOS_LEDGER", "none.db")
    for command in (("score",), ("show",), ("check",), ("reconcile", "--data", ".")):
        assert "there is no ledger" in run(*command).output
    for arguments, complaint in (
        (("add",), "name a FILE, or --symbol"),
        (("add", "BTC-USDT_1h.csv", "--model", "hv20", "--top-p", "0.9"), "a baseline has no top_p"),
        (("add", "BTC-USDT_1h.csv", "--horizon", "0"), "--horizon must be at least 1"),
        (("add", "BTC-USDT_1h.csv", "--model", "hv20", "--until", "someday"), "is no time"),
        (("add", "BTC-USDT_1h.csv", "--model", "hv20", "--until", "2020-01-01"), "BTC/USDT begins after it"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert complaint in result.output


def test_a_file_with_another_name_is_reconciled_when_the_symbol_is_given() -> None:
    forecast_of(BARS, 300).save("said.npz")
    run("add", "said.npz", "--symbol", "BTC/USDT", "--backfill")
    BARS.to_csv("download.csv")
    assert run("reconcile", "--data", "download.csv").exit_code == 1
    assert told("reconcile", "--data", "download.csv", "--symbol", "BTC/USDT")["scored"] == 1


def test_reading_a_ledger_needs_no_torch() -> None:
    run("add", "BTC-USDT_1h.csv", "--model", "hv20", "--backfill")
    code = "import sys; sys.modules['torch'] = None; from kronos.cli import main; main(['ledger', 'score'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "1 backfilled" in done.stdout) == (0, True), done.stderr


def test_what_was_saved_is_what_the_ledger_says_again(tmp_path: Path) -> None:
    made = forecast_of(BARS, 390, samples=10)
    back = Forecast.load(made.save(tmp_path / "said.npz"))
    one, two = (told("add", path, "--symbol", "X", "--backfill")["added"][0] for path in ("said.npz", "said.npz"))
    assert (one["id"], one["new"], two["new"]) == (two["id"], True, False)
    assert pd.Timestamp(told("show")["forecasts"][0]["origin"]) == BARS.index[389]
    assert back.samples == 10
