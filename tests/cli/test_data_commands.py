"""`kronos data`: from files and a fake exchange to a checked, clean, split lake, as a user would do it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fake_exchange import FakeExchange, exchange
from kronos.cli import main
from kronos.data import Key, Lake, Origin, export_split, load_series, read_pickle, split_by_ratio, timelines
from kronos.errors import SourceError
from reference import bars_frame

FRAME = bars_frame(900, freq="1h")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["data", *[str(argument) for argument in arguments]])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def told(*arguments: str | Path, status: int = 0) -> Any:
    """What a command says in JSON."""
    result = run(*arguments, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake of three series, imported from a folder."""
    folder = tmp_path / "files"
    folder.mkdir()
    FRAME.to_parquet(folder / "crypto_BTC_1h.parquet")
    bars_frame(900, seed=1, freq="1h").to_csv(folder / "crypto_ETH_1h.csv")
    bars_frame(400, seed=2, freq="1D").to_csv(folder / "us_AAPL_1d.csv")
    told("import", folder, "--lake", tmp_path / "lake")
    return tmp_path / "lake"


@pytest.fixture
def server() -> Iterator[FakeExchange]:
    first = pd.Timestamp.now("UTC").floor("D") - pd.Timedelta(hours=2500)  # a market of today, as real ones are
    with exchange(bars=2500, timeframe="1h", first=str(first.date())) as running:
        yield running


def test_import_and_list(lake: Path) -> None:
    listed = told("list", "--lake", lake)
    assert [(one["symbol"], one["timeframe"], one["rows"]) for one in listed] == [
        ("AAPL", "1d", 400), ("BTC", "1h", 900), ("ETH", "1h", 900),
    ]  # fmt: skip
    assert listed[1]["first"] == FRAME.index[0].isoformat()
    assert listed[1]["last"] == FRAME.index[-1].isoformat()
    assert listed[1]["market"] == "crypto"
    assert [one["symbol"] for one in told("list", "--lake", lake, "--timeframe", "1d")] == ["AAPL"]
    text = run("list", "--lake", lake).output
    assert "3 series, 2,200 bars" in text
    assert "AAPL" in text
    assert told("list", "--lake", lake, "--symbol", "none") == []


def test_import_says_what_it_refused_and_goes_on(lake: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "A_1h.csv").write_text("timestamp,open,high,low,close\n2024-01-01,1,1,1,one\n")
    FRAME.to_csv(folder / "B_1h.csv")
    result = run("import", folder, "--lake", lake)
    assert result.exit_code == 1
    assert "A_1h.csv" in result.stderr
    assert "line 2" in result.stderr
    assert "1 series, 900 new bars" in result.stdout
    answer = told("import", folder, "--lake", lake, status=1)
    assert [one["symbol"] for one in answer["imported"]] == ["B"]
    assert len(answer["refused"]) == 1


def test_show(lake: Path) -> None:
    shown = told("show", "--lake", lake, "--symbol", "BTC", "--rows", "2")
    assert len(shown[0]["bars"]) == 4
    assert shown[0]["origins"][0]["place"].endswith("crypto_BTC_1h.parquet")
    assert "crypto_BTC_1h.parquet" in run("show", "--lake", lake, "--symbol", "BTC").output


def test_check_finds_what_was_planted(lake: Path, tmp_path: Path) -> None:
    assert told("check", "--lake", lake)["severities"]["error"] == 0
    bad = FRAME.drop(FRAME.index[300:312]).copy()
    bad.iloc[500, 1] = bad.iloc[500, 1] * 0.5  # a high below its low
    bad.iloc[600:640, 4:] = 0.0
    bad.iloc[700, [1, 3]] = bad.iloc[700, 3] * 3  # a spike that comes back
    pd.concat([bad, bad.iloc[[800]]]).to_csv(tmp_path / "crypto_BAD_1h.csv")
    run("import", tmp_path / "crypto_BAD_1h.csv", "--lake", lake)
    answer = told("check", "--lake", lake, status=1)
    worst = answer["inspections"][0]
    assert worst["name"] == "files BAD 1h"
    assert {"gap", "bad_candle", "zero_volume", "bad_tick", "duplicate"} <= worst["counts"].keys()
    assert not worst["ok"]
    assert next(f for f in worst["findings"] if f["kind"] == "gap")["rows"] == 12
    text = run("check", "--lake", lake, "--verbose", "--picture", tmp_path / "pictures")
    assert text.exit_code == 1
    assert "files BAD 1h" in text.stdout
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert "report.png" in pictures
    assert "01_files_BAD_1h.png" in pictures
    assert run("check", tmp_path / "crypto_BAD_1h.csv").exit_code == 1


def test_clean_makes_another_lake_that_is_sound(lake: Path, tmp_path: Path) -> None:
    bad = FRAME.drop(FRAME.index[400:412]).copy()
    bad.iloc[500, 1] = bad.iloc[500, 1] * 0.5
    bad.to_csv(tmp_path / "crypto_BAD_1h.csv")
    run("import", tmp_path / "crypto_BAD_1h.csv", "--lake", lake)
    before = told("list", "--lake", lake)
    dry = told("clean", "--lake", lake, "--dry-run")
    assert dry["into"] is None
    assert not Path(f"{lake}-clean").exists()
    answer = told("clean", "--lake", lake, "--report", tmp_path / "changes.csv")
    assert answer["into"] == f"{lake}-clean"
    assert told("list", "--lake", lake) == before
    one = next(series for series in answer["series"] if series["symbol"] == "BAD")
    assert one["pieces"] == 2
    assert "gap" in one["why"]
    changes = pd.read_csv(tmp_path / "changes.csv")
    assert "high" in set(changes[changes["series"] == "files BAD 1h"]["column"])
    pieces = [entry.key.symbol for entry in Lake.open(answer["into"]).entries(source="files", timeframe="1h")]
    assert "BAD#1" in pieces
    assert told("check", "--lake", answer["into"])["severities"]["error"] == 0
    told("clean", "--lake", lake, "--whole")  # what the first run cut is one series again
    assert {entry.key.symbol for entry in Lake.open(answer["into"]).entries()} == {"AAPL", "BAD", "BTC", "ETH"}
    assert "into another lake" in run("clean", "--lake", lake, "--into", lake).output
    assert "into another lake" in run("clean", "--lake", lake, "--into", f"file://{lake}").output
    assert "inside the lake" in run("clean", "--lake", lake, "--into", lake / "clean").output
    assert "3,088 of 3,088" in run("clean", "--lake", lake, "--whole").output


def test_clean_writes_over_nothing_that_came_from_elsewhere(lake: Path, tmp_path: Path) -> None:
    told("import", tmp_path / "files", "--lake", tmp_path / "other")
    before = told("list", "--lake", tmp_path / "other")
    result = run("clean", "--lake", lake, "--into", tmp_path / "other", "--min-length", "100000")
    assert result.exit_code == 0  # no piece is long enough, so nothing is written, and nothing dropped either
    assert told("list", "--lake", tmp_path / "other") == before
    result = run("clean", "--lake", lake, "--into", tmp_path / "other")
    assert result.exit_code == 1
    assert "was not cleaned from" in result.stderr
    assert told("list", "--lake", tmp_path / "other") == before
    assert run("clean", "--lake", lake, "--into", tmp_path / "other", "--replace").exit_code == 0


def test_pieces_are_known_by_their_symbol(lake: Path, tmp_path: Path) -> None:
    FRAME.drop(FRAME.index[400:412]).to_csv(tmp_path / "crypto_BAD_1h.csv")
    run("import", tmp_path / "crypto_BAD_1h.csv", "--lake", lake)
    clean = told("clean", "--lake", lake, "--min-length", "100")["into"]
    assert len(told("list", "--lake", clean, "--symbol", "BAD")) == 2
    told("export", "--lake", clean, "--out", tmp_path / "out", "--symbol", "BAD")
    assert {one.symbol for one in load_series(tmp_path / "out")} == {"BAD"}
    told("import", tmp_path / "out", "--lake", tmp_path / "again")
    assert [one["symbol"] for one in told("list", "--lake", tmp_path / "again")] == ["BAD#1", "BAD#2"]


def test_one_series_that_cannot_be_checked_or_cleaned_stops_no_other(lake: Path, tmp_path: Path) -> None:
    next((lake / "source=files" / "symbol=BTC").rglob("*.parquet")).write_bytes(b"")
    answer = told("check", "--lake", lake, status=1)
    assert answer["inspections"][0]["counts"] == {"unreadable": 1}
    assert len(answer["inspections"]) == 3
    result = run("clean", "--lake", lake)
    assert result.exit_code == 1
    assert "failed files BTC 1h" in result.stderr
    assert len(told("list", "--lake", f"{lake}-clean")) == 2
    (tmp_path / "files" / "X_1h.csv").write_text("timestamp,open,high,low,close\n2024-01-01,1,1,1,one\n")
    assert told("check", tmp_path / "files", status=1)["series"] == 4
    assert "leave them out" in run("check", tmp_path / "files", "--symbol", "X").output


def test_what_was_made_of_fetched_bars_is_not_updated(server: FakeExchange, tmp_path: Path) -> None:
    words = ["--base-url", server.url, "--lake", tmp_path / "lake"]
    told("fetch", "binance", "BTC/USDT", "1h", "--bars", "100", *words)
    for _ in range(2):
        told("resample", "--to", "4h", "--lake", tmp_path / "lake", "--timeframe", "1h")
        server.pass_time(7200)
        assert [one["timeframe"] for one in told("update", *words)["fetched"]] == ["1h"]


def test_no_place_outside_is_written_and_no_secret_told(lake: Path, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "Z_1h.csv")
    for market in ("../../escaped", str(tmp_path / "absolute"), ".."):
        told("import", tmp_path / "Z_1h.csv", "--lake", tmp_path / "evil", "--market", market, "--source", market)
    answer = told("export", "--lake", tmp_path / "evil", "--out", tmp_path / "inside")
    assert all(Path(path).resolve().is_relative_to(tmp_path / "inside") for path in answer["written"])
    assert len(answer["written"]) == 3
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "absolute").exists()
    secret = run("list", "--lake", lake, "--storage", "key=me", "--storage", "secret=TOPSECRET", "--storage", "x")
    assert secret.exit_code == 1
    assert "TOPSECRET" not in secret.output


def test_resample(lake: Path) -> None:
    made = told("resample", "--to", "4h", "--lake", lake, "--timeframe", "1h")
    assert [(one["symbol"], one["rows"]) for one in made] == [("BTC", 225), ("ETH", 225)]
    bars = Lake.open(lake).read(Lake.open(lake).entries(symbol="BTC", timeframe="4h")[0].key)
    assert bars["volume"].sum() == pytest.approx(FRAME["volume"].sum())
    assert run("resample", "--to", "4h", "--lake", lake, "--timeframe", "1h").exit_code == 0
    assert "say with --timeframe" in run("resample", "--to", "1d", "--lake", lake).output


@pytest.mark.parametrize("form", ["parquet", "csv", "feather", "pack"])
def test_split_writes_parts_that_do_not_touch(lake: Path, tmp_path: Path, form: str) -> None:
    options = ["--lookback", "20", "--horizon", "5", "--timeframe", "1h", "--format", form]
    answer = told("split", "--lake", lake, "--out", tmp_path / "sets", *options)
    parts = {name: load_series(tmp_path / "sets" / name) for name in ("train", "validation", "test")}
    for name, series in parts.items():
        assert sum(len(one) for one in series) == answer["parts"][name]["rows"]
        assert {one.symbol for one in series} == {"BTC", "ETH"}
    for number in range(2):
        train, validation, test = (parts[name][number].times for name in parts)
        assert validation[0] - train[-1] == np.timedelta64(26, "h")
        assert test[0] - validation[-1] == np.timedelta64(26, "h")
    again = run("split", "--lake", lake, "--out", tmp_path / "sets", *options)
    assert again.exit_code == 1
    assert "not empty" in again.output


def test_split_by_dates_folds_and_hold_outs(lake: Path, tmp_path: Path) -> None:
    cut = [str(FRAME.index[i])[:10] for i in (500, 700)]
    shape = ["--lake", lake, "--lookback", "20", "--horizon", "5", "--timeframe", "1h"]
    by_date = told("split", *shape, "--dates", ",".join(cut), "--out", tmp_path / "dates")
    assert by_date["parts"]["validation"]["first"][:10] == cut[0]
    assert not any(overlap["in_time"] for overlap in by_date["overlaps"])
    folds = told("split", *shape, "--folds", "3", "--out", tmp_path / "folds")
    assert len(folds) == 3
    assert (tmp_path / "folds" / "fold3" / "split.json").is_file()
    held = told("split", *shape, "--hold-out", "ETH", "--out", tmp_path / "held")
    assert {one.symbol for one in load_series(tmp_path / "held" / "train")} == {"BTC"}
    assert held["held_out"] == ["ETH"]
    short = run("split", *shape[:2], "--lookback", "2000", "--out", tmp_path / "short")
    assert short.exit_code == 1
    assert "lower lookback" in short.output
    assert not (tmp_path / "short").exists()


def test_pickles_are_written_and_validated(lake: Path, tmp_path: Path) -> None:
    told("split", "--lake", lake, "--format", "pickle", "--out", tmp_path / "sets", "--timeframe", "1h")
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == [
        "dataset_summary.json", "test_data.pkl", "train_data.pkl", "val_data.pkl",
    ]  # fmt: skip
    assert read_pickle(tmp_path / "sets" / "train_data.pkl").keys() == {"BTC_1h", "ETH_1h"}
    assert told("validate", tmp_path / "sets", "--timeframes", "1H")["ok"]
    assert "ok" in run("validate", tmp_path / "sets").output
    assert run("validate", tmp_path / "sets", "--timeframes", "1H,4H").exit_code == 1
    (tmp_path / "sets" / "val_data.pkl").unlink()
    assert not told("validate", tmp_path / "sets", status=1)["ok"]


@pytest.mark.parametrize("form", ["parquet", "csv", "feather", "pack"])
def test_export_comes_back_as_it_was(lake: Path, tmp_path: Path, form: str) -> None:
    told("export", "--lake", lake, "--format", form, "--out", tmp_path / "out")
    series = {one.symbol: one for one in load_series(tmp_path / "out")}
    assert series.keys() == {"AAPL", "BTC", "ETH"}
    np.testing.assert_allclose(series["BTC"].bars, FRAME.to_numpy(), rtol=1e-15)
    if form != "pack":
        told("import", tmp_path / "out", "--lake", tmp_path / "again")
        first, second = (Lake.open(place).entries() for place in (lake, tmp_path / "again"))
        assert [(e.key, e.rows, e.market) for e in first] == [(e.key, e.rows, e.market) for e in second]


def test_export_to_qlib_and_back(lake: Path, tmp_path: Path) -> None:
    told("export", "--lake", lake, "--format", "qlib", "--timeframe", "1d", "--out", tmp_path / "qlib")
    told("import", tmp_path / "qlib", "--lake", tmp_path / "again")
    entry = Lake.open(tmp_path / "again").entries()[0]
    assert (entry.key.symbol, entry.rows) == ("AAPL", 400)
    mixed = run("export", "--lake", lake, "--format", "qlib", "--out", tmp_path / "mixed")
    assert "one timeframe at a time" in mixed.output


def test_fetch_and_update(server: FakeExchange, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first = told(
        "fetch", "binance", "BTC/USDT,ETH/USDT", "1h", "--base-url", server.url, "--lake", lake, "--bars", "50"
    )
    assert [(one["symbol"], one["added"]) for one in first["fetched"]] == [("BTC/USDT", 50), ("ETH/USDT", 50)]
    told("fetch", "okx", "BTC-USDT", "4h", "--base-url", server.url, "--lake", lake, "--bars", "20")
    server.pass_time(7200)
    news = told("update", "--lake", lake, "--base-url", server.url)
    assert {(one["source"], one["symbol"]): one["added"] for one in news["fetched"]} == {
        ("binance", "BTC/USDT"): 2, ("binance", "ETH/USDT"): 2, ("okx", "BTC/USDT"): news["fetched"][2]["added"],
    }  # fmt: skip
    assert "up to date" in run("update", "--lake", lake, "--base-url", server.url).output
    entry = Lake.open(lake).entries(source="binance", symbol="BTC/USDT")[0]
    assert (entry.rows, entry.market, entry.calendar) == (52, "crypto", "24/7")
    failing = run("fetch", "binance", "BTC/USDT,NO/PE", "1h", "--base-url", server.url, "--lake", lake)
    assert failing.exit_code == 1
    assert "NO/PE" in failing.stderr
    assert "BTC/USDT 1h" in failing.stdout


def test_fetch_from_an_address_that_does_not_answer(tmp_path: Path) -> None:
    result = run("fetch", "binance", "BTC/USDT", "--lake", tmp_path / "lake")
    assert result.exit_code == 2
    assert "missing argument: timeframes" in result.output.lower()
    unknown = run("fetch", "binanse", "BTC/USDT", "1h", "--lake", tmp_path / "lake")
    assert "did you mean binance" in unknown.output


def test_drop(lake: Path) -> None:
    assert run("drop", "--lake", lake, "--symbol", "BTC").exit_code == 1  # asked, and not answered
    told("drop", "--lake", lake, "--symbol", "BTC", "--yes")
    assert [one["symbol"] for one in told("list", "--lake", lake)] == ["AAPL", "ETH"]


def test_wrong_places(tmp_path: Path) -> None:
    assert "no lake here" in run("list", "--lake", tmp_path / "absent").output
    assert "no such file or folder" in run("import", tmp_path / "absent", "--lake", tmp_path / "new").output
    assert not (tmp_path / "new").exists()
    assert "expected KEY=VALUE" in run("list", "--lake", tmp_path, "--storage", "x").output


def test_the_log_tells_requests_and_no_secret(
    server: FakeExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OKX_API_SECRET", "very-secret")
    words = ["--log", str(tmp_path / "log.txt"), "--debug", "fetch", "okx", "BTC-USDT", "1h", "--bars", "5"]
    words += ["--base-url", server.url, "--lake", str(tmp_path / "lake")]
    done = subprocess.run([sys.executable, "-m", "kronos", "data", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "log.txt").read_text()
    assert "candles" in text
    assert "very-secret" not in text + done.stderr


def test_the_default_lake_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.to_csv(tmp_path / "BTC_1h.csv")
    monkeypatch.setenv("KRONOS_LAKE", str(tmp_path / "mine"))
    run("import", tmp_path / "BTC_1h.csv")
    assert Lake.is_lake(tmp_path / "mine")
    monkeypatch.delenv("KRONOS_LAKE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    run("import", tmp_path / "BTC_1h.csv")
    assert sys.platform != "linux" or Lake.is_lake(tmp_path / "share" / "kronos" / "lake")


def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder-of-files").mkdir()
    FRAME.to_csv(tmp_path / "folder-of-files" / "BTC_1h.csv")
    scope: dict[str, Any] = {}
    with exchange(bars=6000, timeframe="1h", first="2023-01-01") as server:
        monkeypatch.setenv("KRONOS_BINANCE_URL", server.url)
        exec(text.split("```python\n")[1].split("```")[0], scope)
    assert sorted(len(one) for one in scope["series"]) == [900, 6000]
    assert len(scope["train"]) > 3000


def test_sessions_follow_the_clock_of_their_exchange(tmp_path: Path) -> None:
    days = pd.bdate_range("2024-03-04", "2024-03-15")  # New York sets its clocks forward on the 10th
    times = pd.DatetimeIndex([day + pd.Timedelta(minutes=570 + 15 * i) for day in days for i in range(26)])
    bars = bars_frame(len(times), freq="15min").set_axis(times.tz_localize("America/New_York").rename("timestamp"))
    bars.tz_convert("UTC").to_parquet(tmp_path / "us_X_15m.parquet")
    told("import", tmp_path / "us_X_15m.parquet", "--lake", tmp_path / "lake")
    options = ["--to", "1h", "--align", "session", "--lake", tmp_path / "lake"]
    refused = run("resample", *options)
    assert refused.exit_code == 1
    assert "--calendar" in refused.stderr
    told("import", tmp_path / "us_X_15m.parquet", "--lake", tmp_path / "lake", "--calendar", "NYSE")
    assert told("resample", *options)[0]["rows"] == 7 * len(days)
    made = Lake.open(tmp_path / "lake").entries(timeframe="1h")[0]
    read = Lake.open(tmp_path / "lake").read(made.key)
    assert made.zone == "UTC"
    assert set(pd.DatetimeIndex(read.index).tz_convert("America/New_York").strftime("%H:%M")) == {
        f"{hour:02d}:30" for hour in range(9, 16)
    }


def test_options_that_contradict_each_other(lake: Lake, tmp_path: Path) -> None:
    out = ["--lake", lake, "--out", tmp_path / "out"]
    assert "choose one" in run("split", *out, "--folds", "2", "--dates", "2024-01-01,2024-02-01").output
    assert "--folds" in run("split", *out, "--rolling").output
    assert "a folder of this machine" in run("export", "--lake", lake, "--out", "s3://bucket/x").output


def test_one_bad_series_does_not_stop_a_resampling(lake: Lake) -> None:
    next((lake / "source=files" / "symbol=BTC").rglob("*.parquet")).write_bytes(b"")
    result = run("resample", "--to", "4h", "--lake", lake, "--timeframe", "1h")
    assert result.exit_code == 1
    assert "failed files BTC 1h" in result.stderr
    assert "ETH" in result.stdout


def test_one_bad_series_does_not_stop_an_export(lake: Path, tmp_path: Path) -> None:
    next((lake / "source=files" / "symbol=BTC").rglob("*.parquet")).write_bytes(b"")
    result = run("export", "--lake", lake, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "2 series were written" in result.stderr
    assert {one.symbol for one in load_series(tmp_path / "out")} == {"AAPL", "ETH"}


def test_a_first_bar_that_is_not_whole_is_left_out(lake: Path) -> None:
    late = FRAME[FRAME.index.hour >= 13].index[0]  # type: ignore[attr-defined]
    there = Lake.open(lake)
    there.write(Key("files", "LATE", "1h"), FRAME[FRAME.index >= late], Origin("import", "x"))
    told("resample", "--to", "1d", "--lake", lake, "--symbol", "LATE")
    days = there.read(Key("files", "LATE", "1d"))
    assert days.index[0] == late.normalize() + pd.Timedelta(days=1)


def test_a_series_that_grew_since_the_plan_is_not_split_by_it(lake: Path, tmp_path: Path) -> None:
    there = Lake.open(lake)
    entries = there.entries(timeframe="1h")
    plan = split_by_ratio(timelines(there, entries), 20, 5)
    more = bars_frame(10, freq="1h").set_axis(FRAME.index[-10:] + pd.Timedelta(hours=10))
    there.write(entries[0].key, more, Origin("import", "x"))
    with pytest.raises(SourceError, match="was written to in the meantime"):
        export_split(there, entries, plan, tmp_path / "sets", "parquet")
    assert not (tmp_path / "sets").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["show", "--rows", "-3"],
        ["validate", "x", "--min-rows", "0"],
        ["clean", "--min-length", "-5"],
        ["check", "--details", "-1"],
        ["split", "--out", "x", "--lookback", "0"],
        ["split", "--out", "x", "--embargo", "-1"],
        ["fetch", "binance", "BTC/USDT", "1h", "--bars", "0"],
    ],
)
def test_numbers_that_make_no_sense(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 2
    assert "is not in the range" in result.output
    assert not list(tmp_path.iterdir())
