"""Processes of one run: what they tell each other, who speaks when they fail, torchrun itself, stopped and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
import yaml
from several import End, together

import kronos
from kronos.cli import main
from kronos.errors import ConfigError, KronosError
from kronos.train import PretrainSettings, Progress, Ranks, joined, pretrain, ranks

TIMEOUT = 120  # seconds for what takes a few: a test may fail, and never hang


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith("RANK") or name in ("WORLD_SIZE", "MASTER_ADDR")]:
        monkeypatch.delenv(name)


# Alone ----------------------------------------------------------------------------------------------------------------


def test_a_process_alone_talks_to_nobody() -> None:
    with joined("cpu") as one:
        assert (one.rank, one.count, one.leads, one.device) == (0, 1, True, torch.device("cpu"))
        assert one.totals({"a": 1.5, "b": -2.0}) == {"a": 1.5, "b": -2.0}
        assert (one.any(False), one.any(True), one.told("me")) == (False, True, "me")
        one.alike(torch.nn.Linear(2, 2))
        one.wait()


@pytest.mark.parametrize("environment", [{"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "4"}])
def test_one_that_a_launcher_started_alone_or_none_did(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with joined("cpu") as one:
        assert one == Ranks()
    with pytest.raises(ConfigError, match="name cpu, cuda or mps"), joined("abacus"):
        pass


def test_several_that_cannot_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"2 processes.*MASTER_ADDR.*torchrun"), joined("cpu"):
        pass


# Devices --------------------------------------------------------------------------------------------------------------


def test_devices_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # there is none
    assert [str(ranks._device(None, local)) for local in (0, 1)] == ["cuda:0", "cuda:1"]
    assert [str(ranks._device(name)) for name in (None, "cuda", "cuda:1", "cpu")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "cpu",
    ]
    assert ranks._device("cpu", 5) == torch.device("cpu")
    for name, local, complaint in (
        ("cuda", 2, "2 GPUs, too few for a process number 3"),
        ("cuda:1", 0, "use --device cuda, and each has a GPU of its own"),
        ("mps", 0, "cannot share Apple's GPU"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            ranks._device(name, local)


def test_several_on_a_mac_are_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="use --device cpu"):
        ranks._device(None, 1)


# Several --------------------------------------------------------------------------------------------------------------


def talk() -> list[Any]:
    """What is known after a talk, in two meetings."""
    known: list[Any] = []
    for meeting in range(2):
        with joined("cpu") as one:
            network = torch.nn.BatchNorm1d(2)
            torch.nn.init.constant_(network.weight, one.rank + 5.0)
            network.running_mean.fill_(one.rank)
            one.alike(network)
            known += [
                (one.count, one.totals({"a": one.rank + 0.5, "b": 2.0**-40})),
                (one.any(False), one.any(one.rank == 2)),
                one.told({"from": one.rank, "meeting": meeting}),
                [tensor.tolist() for tensor in network.state_dict().values()],
            ]
            one.wait()
    return known


def test_what_three_tell_each_other(tmp_path: Path) -> None:
    ends = together(3, talk, folder=tmp_path)
    assert [end.exit for end in ends] == [0, 0, 0], ends
    assert ends[0].value == ends[1].value == ends[2].value
    assert ends[0].value[:3] == [
        (3, {"a": 4.5, "b": 3 * 2.0**-40}),
        (False, True),
        {"from": 0, "meeting": 0},
    ]
    assert ends[0].value[3] == [[5.0, 5.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0], 0]


def fail(how: Callable[[Ranks], None]) -> None:
    with joined("cpu") as one:
        how(one)
        for _ in range(3):
            one.wait()


def everywhere(one: Ranks) -> None:
    raise ConfigError(f"no data, says {one.rank}")


def at_the_last(one: Ranks) -> None:
    if one.rank == one.count - 1:
        raise KronosError("my disk is full")


def at_the_first(one: Ranks) -> None:
    if one.leads:
        raise ZeroDivisionError("a bug")


def at_ctrl_c(one: Ranks) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "speaks", "says"),
    [
        (everywhere, 0, "ConfigError: no data, says 0"),
        (at_the_last, 1, "KronosError: my disk is full"),
        (at_the_first, 0, "ZeroDivisionError: a bug"),
        (at_ctrl_c, 0, "KeyboardInterrupt: "),
    ],
)
def test_of_several_that_fail_one_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Callable[[Ranks], None], speaks: int, says: str
) -> None:
    if how is at_the_last:  # which waits for the first one to say the same
        monkeypatch.setattr(ranks, "_COURTESY", timedelta(seconds=0.3))
    ends = together(2, fail, how, folder=tmp_path)
    assert [end.exit for end in ends] == [says if rank == speaks else 1 for rank in range(2)]
    assert [("Traceback" in end.err) for end in ends] == [rank == speaks for rank in range(2)]


# The command line -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bars") / "coin.csv"
    kronos.sample_bars(rows=400, seed=3).to_csv(file)
    return file


def command(*args: Any) -> None:
    torch.set_num_threads(1)
    main([str(arg) for arg in args], prog_name="kronos")


def said(ends: list[End]) -> list[str]:
    """All lines that were printed, but for those of torch's own."""
    return [line for end in ends for line in (end.out + end.err).splitlines() if re.match(r"[A-Za-z]", line)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--data", "no.csv"), "Error: no.csv: no such file or folder"),
        (("--set", "predictor.stepz=3"), "Error: settings: predictor.stepz: unknown key, did you mean 'steps'?"),
    ],
)
def test_a_command_fails_in_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    ends = together(2, command, "train", "finetune", *arguments, "--out", tmp_path / "o", folder=tmp_path)
    assert [end.exit for end in ends] == [1, 1]
    assert [line for line in said(ends) if line.startswith("Error")] == [says]


TWIG: dict[str, Any] = {
    "name": "twig",
    "max_context": 40,
    "validation_share": 0.2,
    "validation_windows": 12,
    "shapes": [{"lookback": 16, "horizon": 4, "batch": 8}, {"lookback": 24, "horizon": 8, "batch": 6}],
    "tokenizer": {
        "steps": 3,
        "warmup": 2,
        "config": {"d_model": 16, "n_heads": 2, "ff_dim": 24, "n_enc_layers": 2, "n_dec_layers": 2},
    },
    "predictor": {
        "steps": 2000,
        "optimiser": "adamw",
        "warmup": 2,
        "validate_every": 2,
        "save_every": 10**6,
        "config": {"d_model": 16, "n_heads": 2, "ff_dim": 24, "n_layers": 1},
    },
}


class Enough(Exception):  # noqa: N818 - no error
    """As far as it has to come."""


class Until:
    """Ends a run after this step of its predictor."""

    def __init__(self, step: int) -> None:
        self.step, self.lines = step, list[str]()

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self, progress: Progress) -> None:
        if progress.stage == "predictor" and progress.step == self.step:
            raise Enough


def figures(out: Path, stage: str) -> list[dict[str, float]]:
    file = out / "runs" / stage / "metrics.jsonl"
    text = file.read_text() if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]


def learns(settings: PretrainSettings, out: Path, step: int) -> list[str]:
    """What one process says that trains until this step."""
    reporter = Until(step)
    with pytest.raises(Enough):
        pretrain(settings, out, reporter=reporter)
    return reporter.lines


def test_torchrun_is_stopped_and_the_run_goes_on_as_one_process_would(bars: Path, tmp_path: Path) -> None:
    """Ctrl-C at torchrun: all save and end. What two processes go on with is what one has that accumulates twice."""
    recipe, out, alone = tmp_path / "twig.yaml", tmp_path / "out", tmp_path / "alone"
    recipe.write_text(yaml.safe_dump(TWIG))
    where = ("--data", bars, "--config", recipe, "--out", out, "--device", "cpu", "--threads", "1")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    with subprocess.Popen(
        [str(part) for part in (*torchrun, "-m", "kronos", "train", "pretrain", *where)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        limit = time.monotonic() + TIMEOUT
        while process.poll() is None and len(figures(out, "predictor")) < 5 and time.monotonic() < limit:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        try:
            printed, complained = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode != 0
    assert printed == ""
    (last,) = re.findall(r"^Error: stopped after step (\d+) of .*; the same command goes on", complained, re.M)
    assert complained.count("Error: ") == 1, complained
    assert complained.count("predictor step 0/") == 1, complained
    step = int(last)
    assert [path.name for path in (out / "runs/predictor/checkpoints").iterdir()] == [f"step-{step:08d}.pt"]

    twice = {stage: TWIG[stage] | {"accumulate": 2} for stage in ("tokenizer", "predictor")}
    settings = PretrainSettings.of(TWIG | twice | {"data": [str(bars)]})
    assert f"predictor: going on after step {step}" in learns(settings, out, step + 3)
    learns(settings, alone, step + 3)
    for stage in ("tokenizer", "predictor"):
        ours, theirs = figures(out, stage), figures(alone, stage)
        assert len(ours) == len(theirs) >= 4
        for one, other in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other, rel=1e-5, abs=1e-7), one["step"]
