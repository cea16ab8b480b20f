"""Several processes learn what one does: whole copies or parts, adapters, averages, stopped, killed and resumed."""

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch._dynamo  # these three here, or every process would import them again
import torch.distributed.fsdp
import torch.distributed.tensor
from several import End, together
from torch import nn

from kronos.data import Batch, Series, Windows, WindowSampler
from kronos.errors import ConfigError
from kronos.model import Kronos
from kronos.train import LoopSettings, PredictorObjective, Stage, TokenizerObjective, Tuning, fit, joined
from kronos.train.compare import spread_batches
from kronos.train.feeds import Draws, Feed
from kronos.train.lora import is_adapted
from kronos.train.tuning import merged, prepare
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

LOOP: dict[str, Any] = {"steps": 4, "lr": 5e-3, "warmup": 2, "validate_every": 2, "save_every": 2, "keep": "best"}
DROPOUT = {"ffn_dropout_p": 0.1, "attn_dropout_p": 0.1, "resid_dropout_p": 0.1, "token_dropout_p": 0.1}
LORA = {"what": "lora", "rank": 1, "targets": "attention", "also": ["head"]}  # of one row not every process has a part


def windows() -> Windows:
    return Windows([Series.of(bars_frame(60, seed=i), f"g/{i}") for i in range(2)], 8, 4)


def objective(kind: str, tuning: Tuning) -> Any:
    if kind == "tokenizer":
        tokenizer = tiny_tokenizer(normaliser="returns")
        prepare(tokenizer, tuning, 3)
        return TokenizerObjective(tokenizer, (2.0, 2.0, 2.0, 2.0, 1.0, 0.5))
    network = tiny_network(**TRAINED, **DROPOUT, n_layers=1)
    prepare(network, tuning, 3)
    return PredictorObjective(network, tiny_tokenizer(normaliser="returns"), sibling="sampled")


def learn(
    folder: Path,
    changes: Mapping[str, Any],
    kind: str = "predictor",
    tuning: Mapping[str, Any] | None = None,
    around: Callable[[int, int, Feed], Feed] | None = None,
    rollouts: Any = None,
) -> dict[str, Any]:
    """One process of a run: what its network is at the end, plain, with adapters folded in."""
    torch.set_num_threads(1)
    chosen = Tuning.of(tuning or {})
    with joined("cpu") as ranks:
        feed: Feed = Draws(WindowSampler(windows(), 4, seed=3))
        if around is not None:
            feed = around(ranks.rank, ranks.count, feed)
        target = objective(kind, chosen)
        stage = Stage(kind, folder, 5, chosen, rollouts=rollouts, ranks=ranks)
        held = spread_batches(windows(), 17, 8)  # three batches: of two processes one looks at one that does not count
        fit(target, feed, held, LoopSettings.of(LOOP | dict(changes)), stage)
        network = merged(target.network)
        assert type(network) in (Kronos, type(tiny_tokenizer()))
        assert not network.training
        assert not is_adapted(network)
        return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def alone(changes: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The settings by which one process does what so many do."""
    return {**changes, "accumulate": changes.get("accumulate", 1) * count}


def lines(folder: Path) -> list[dict[str, float]]:
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in read]


def close(one: list[dict[str, float]], other: list[dict[str, float]], rel: float = 1e-5) -> None:
    """The same figures at the same steps."""
    assert [line.keys() for line in one] == [line.keys() for line in other]
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, rel=rel, abs=1e-7), a["step"]


def alike(ends: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]) -> None:
    """All processes came to one network, to the bit, and it is the wanted one."""
    for name, tensor in ends[0].items():
        assert [tensor.tobytes()] * len(ends) == [end[name].tobytes() for end in ends], name
        # Adam divides by roots of tiny squares: what is noise in a gradient is noise in a step
        np.testing.assert_allclose(tensor, wanted[name], rtol=1e-3, atol=2e-5, err_msg=name)


def good(ends: list[End]) -> list[Any]:
    """What the processes returned; they ended well, kept quiet, and only the first one wrote."""
    assert [end.exit for end in ends] == [0] * len(ends), ends[0].err or ends[1].err
    assert {end.out + end.err for end in ends} == {""}
    assert any("metrics.jsonl" in file for file in ends[0].changed)
    assert [end.changed for end in ends[1:]] == [[]] * (len(ends) - 1)
    return [end.value for end in ends]


# Curves ---------------------------------------------------------------------------------------------------------------


def spread(network: nn.Module) -> dict[str, float]:
    """In a score's place: a figure of a whole, plain network."""
    assert type(network) is Kronos
    return {"crps": network.head.proj_s1.weight.std().item()}


class Way(NamedTuple):
    """How to train."""

    count: int
    changes: dict[str, Any]
    kind: str = "predictor"
    tuning: Mapping[str, Any] = MappingProxyType({})


FULL = {
    "accumulate": 2,
    "ema": 0.8,
    "checkpointing": True,
    "base_volatility": "auto",
    "metric": "crps",
    "score_every": 1,
    "steps": 3,
    "save_every": 9,
}
LAST = {"keep": "last", "steps": 2, "save_every": 9}
WORSE = LAST | {"steps": 3, "ema": 0.5, "lr": 0.1, "warmup": 1, "validate_every": 1}
WAYS = {
    "copies, with adapters": Way(2, FULL, "predictor", LORA),
    "three copies, by muon": Way(3, LAST | {"optimiser": "muon"}, "tokenizer"),
    "parts, with adapters": Way(2, FULL | {"parallel": "fsdp"}, "predictor", LORA),
    "parts of a tokenizer that gets worse": Way(2, WORSE | {"parallel": "fsdp"}, "tokenizer", {"freeze": ["encoder"]}),
    "parts in half precision": Way(2, LAST | {"parallel": "fsdp", "precision": "bfloat16"}),
}


def learn_all(folder: Path, ways: Mapping[str, Way]) -> dict[str, Any]:
    return {
        name: learn(
            folder / name, way.changes, way.kind, way.tuning, rollouts=spread if "metric" in way.changes else None
        )
        for name, way in ways.items()
    }


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Any]]]:
    """What all processes came to in every way, and the folder with their runs; one run follows the other in them."""
    folder, found = tmp_path_factory.mktemp("ways"), {}
    for count in {way.count for way in WAYS.values()}:
        ways = {name: way for name, way in WAYS.items() if way.count == count}
        values = good(together(count, learn_all, folder, ways, folder=folder))
        found |= {name: [value[name] for value in values] for name in ways}
    return folder, found


@pytest.mark.parametrize("name", WAYS)
def test_several_processes_learn_what_one_does_that_accumulates_more(
    learnt: tuple[Path, dict[str, list[Any]]], tmp_path: Path, name: str
) -> None:
    (folder, found), way = learnt, WAYS[name]
    wanted = learn_all(tmp_path, {name: way._replace(changes=alone(way.changes, way.count))})[name]
    if "precision" in way.changes:
        # parts are lent in bfloat16, of a copy only the matrices are cast, one by one
        close(lines(folder / name), lines(tmp_path / name), rel=0.03)
        alike(found[name], found[name][0])
        assert {tensor.dtype for tensor in found[name][0].values()} == {tensor.dtype for tensor in wanted.values()}
    else:
        close(lines(folder / name), lines(tmp_path / name))
        alike(found[name], wanted)


def test_parts_by_muon_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="muon"):
        learn(tmp_path, {"parallel": "fsdp", "optimiser": "muon"})


def test_parts_need_a_torch_that_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.distributed.fsdp, "fully_shard")
    (only,) = {end.exit for end in together(2, learn, tmp_path / "out", {"parallel": "fsdp"}, folder=tmp_path)} - {1}
    assert only.startswith("ConfigError: parallel 'fsdp' needs torch 2.6")


# Interrupted ----------------------------------------------------------------------------------------------------------


def ending(by: signal.Signals, at: int) -> Callable[[int, int, Feed], Feed]:
    """A signal to the last process alone, or to one that is alone, when it reads the batches of this step's."""

    def around(rank: int, count: int, feed: Feed) -> Feed:
        class Ending:
            epoch = feed.epoch

            def __call__(self, number: int) -> Batch:
                if rank == count - 1 and number // 2 == at:
                    os.kill(os.getpid(), by)
                return feed(number)

        return Ending()

    return around


def test_a_stopped_run_goes_on_with_other_numbers_and_in_another_way(tmp_path: Path) -> None:
    wanted, out = learn(tmp_path / "one", alone({"ema": 0.8}, 2)), tmp_path / "out"
    parts, stop = {"ema": 0.8, "parallel": "fsdp"}, ending(signal.SIGTERM, 1)
    stopped = together(2, learn, out, parts, "predictor", None, stop, folder=tmp_path)
    assert any(str(end.exit).startswith("StoppedError: stopped after step") for end in stopped), stopped
    (only,) = together(
        1, learn, out, alone({"ema": 0.8}, 2), "predictor", None, ending(signal.SIGTERM, 3), folder=tmp_path
    )
    assert only.exit.endswith("the same command goes on from there")
    assert 0 < len(lines(out)) < len(lines(tmp_path / "one"))
    alike(good(together(2, learn, out, {"ema": 0.8}, folder=tmp_path)), wanted)
    close(lines(out), lines(tmp_path / "one"))
    with pytest.raises(ConfigError, match="accumulate x processes 2 -> 1"):
        learn(out, {"ema": 0.8})


def test_the_others_of_a_killed_process_end_and_the_run_goes_on(tmp_path: Path) -> None:
    wanted, out, kill = learn(tmp_path / "one", alone({}, 2)), tmp_path / "out", ending(signal.SIGKILL, 3)
    first, last = together(2, learn, out, {}, "predictor", None, kill, folder=tmp_path)
    assert last.exit == -signal.SIGKILL
    assert first.exit.startswith("KronosError: another process of this run has ended")
    alike(good(together(2, learn, out, {}, folder=tmp_path)), wanted)
    close(lines(out), lines(tmp_path / "one"))
