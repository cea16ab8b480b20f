"""`kronos bench`: the table, the file, and what is said of what could not be run."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kronos.cli import main
from kronos.errors import MissingExtra
from kronos.forecast import bench, bench_machine
from kronos.forecast.backends import make_backend
from kronos.forecast.bench import CASES, Case
from kronos.forecast.bench_machine import Rates
from kronos.model import Pair
from reference import tiny_network, tiny_tokenizer


def tiny() -> Pair:
    return Pair("tiny", tiny_network(), tiny_tokenizer())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny case beside the real ones, and a machine that need not be measured."""
    monkeypatch.setitem(CASES, "tiny", Case("tiny", "tiny", partial(tiny), (9,), (6,), 2))
    monkeypatch.setattr(bench_machine, "probe", lambda: Rates(1e9, 1e10, 1e11))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", *(str(argument) for argument in arguments)])


def test_a_table_and_a_file(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    result = run("--case", "tiny", "--backend", "torch", "--repeats", 2, "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["case", "backend", "slow", "fast", "ratio", "path-bars/s", "floor", "reached"]
    assert lines[1].startswith("tiny  tiny, 1 series 9->6, 2 paths  torch float32  ~")
    assert "memory 1.0 GB/s, cache 10.0 GB/s, arithmetic 100 GFLOP/s" in result.output
    assert "interpolated linearly" in result.output
    assert f"wrote {out}" in result.output
    record = json.loads(out.read_text())
    assert set(record) == {"kronos", "machine", "settings", "cases"}
    assert set(record["machine"]) == {
        "torch", "python", "system", "processor", "cores", "threads", "load", "rates",
    }  # fmt: skip
    assert record["machine"]["rates"] == {"memory": 1e9, "cache": 1e10, "gemm": 1e11}
    assert record["settings"] == {
        "cases": ["tiny"], "backends": ["torch"], "precisions": ["float32"], "repeats": 2, "slow": True,
    }  # fmt: skip
    assert [case["name"] for case in record["cases"]] == ["tiny"]
    assert record["cases"][0]["fast"][0]["repeats"] == 2


def test_without_the_slow_algorithm() -> None:
    result = run("--case", "tiny", "--backend", "torch", "--repeats", 1, "--no-slow")
    assert result.exit_code == 0, result.output
    assert "interpolated" not in result.output
    assert result.output.splitlines()[1].split()[9] == "-"


def test_what_is_not_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_auto(name: str, *rest: Any) -> Any:
        if name == "auto":
            raise MissingExtra("this needs the package 'x'")
        return make_backend(name, *rest)

    monkeypatch.setattr(bench, "make_backend", without_auto)
    result = run("--case", "tiny", "--backend", "auto", "--backend", "torch", "--repeats", 1, "--no-slow")
    assert result.exit_code == 0, result.output
    assert "skipped auto float32: this needs the package 'x'" in result.output
    assert "torch float32" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--case", "x"], f"unknown case 'x'; known are {', '.join(CASES)}, tiny"),
        (["--backend", "x"], "unknown backend 'x'; known are auto"),
        (["--precision", "x"], "unknown precision 'x'; known are float32"),
        (["--repeats", "0"], "at least once"),
        (["--out", "no/such/folder/x.json"], "name a file in a folder that is there"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert complaint in result.output
    assert len(result.output.splitlines()) == 1


def test_the_docs_name_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CASES, "tiny")
    docs = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    section = docs.split("`kronos bench`", 1)[1].split("\n## ", 1)[0]
    for name in CASES:
        assert f"`{name}`" in section
