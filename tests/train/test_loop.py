"""The loop: losses fall, a stopped run ends where an uninterrupted one does, and nothing good is overwritten."""

import json
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kronos.bars import fit_normaliser, time_stamps
from kronos.data import Batch, Series, Windows, WindowSampler
from kronos.errors import CheckpointError, ConfigError, KronosError
from kronos.train import LoopSettings, PredictorObjective, TokenizerObjective, fit
from kronos.train.loop import CHECKPOINT_FILE, METRICS_FILE, learning_rate, validate
from kronos.train.objectives import normalised
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

QUICK = {"lr": 2e-2, "warmup": 5, "validate_every": 10, "save_every": 10, "weight_decay": 0.01}


class Line:
    """A toy: find the matrix that made y from x, with dropout so that random numbers matter."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(width, 8), nn.Dropout(0.1), nn.Linear(8, 1))

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        x = torch.from_numpy(batch.bars).float().flatten(0, 1)[:, :4]
        error = (self.network(x)[:, 0] - x.sum(-1)).square().mean()
        return error, {"root": error.sqrt().item()}


def numbers(step: int) -> Batch:
    rng = np.random.default_rng(step)
    return Batch(rng.normal(0, 1, (8, 4, 6)), np.zeros((8, 4, 5), dtype=np.int8), 2)


def series(count: int = 2, rows: int = 60) -> list[Series]:
    return [Series.of(bars_frame(rows, seed=i), f"g/{i}") for i in range(count)]


def sampler(batch: int = 8, lookback: int = 12, horizon: int = 4) -> WindowSampler:
    return WindowSampler(Windows(series(), lookback, horizon), batch, seed=3)


def weights(network: nn.Module) -> bytes:
    return b"".join(tensor.detach().numpy().tobytes() for tensor in network.state_dict().values())


# The loop -------------------------------------------------------------------------------------------------------------


def test_losses_fall_and_are_logged(tmp_path: Path) -> None:
    lines: list[str] = []
    toy, held = Line(), [numbers(10**6), numbers(10**6 + 1)]
    before = validate(toy, held)
    figures = fit(toy, numbers, held, LoopSettings(steps=60, **QUICK), tmp_path, report=lines.append)
    assert figures["loss"] < 0.2 * before["loss"]
    assert figures["loss"] == pytest.approx(validate(toy, held)["loss"])
    log = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 61))
    assert {"lr", "loss", "root"} <= log[0].keys()
    assert [line["step"] for line in log if "val_loss" in line] == [10, 20, 30, 40, 50, 60]
    assert log[-1]["val_loss"] == figures["loss"]
    assert any("60/60" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT_FILE, METRICS_FILE]


class StoppedError(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("stop_at", [3, 10, 17, 29])
@pytest.mark.parametrize("where", ["batch", "report"])
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, stop_at: int, where: str) -> None:
    steps = LoopSettings(steps=30, **QUICK)
    whole = Line()
    wanted = fit(whole, numbers, [numbers(999)], steps, tmp_path / "whole")

    def batches(step: int) -> Batch:
        if where == "batch" and step == stop_at:
            raise StoppedError
        return numbers(step)

    def report(line: str) -> None:
        if where == "report" and line.startswith("step") and int(line.split()[1].split("/")[0]) >= stop_at:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(Line(), batches, [numbers(999)], steps, tmp_path / "broken", report=report)
    said: list[str] = []
    torch.manual_seed(12345)  # what happened in between must not matter
    again = Line(seed=77)  # nor what the network held before
    torch.rand(17)
    resumed = where == "report" or stop_at >= 10  # a report comes every ten steps, after the checkpoint
    if not resumed:
        again = Line()  # nothing was saved yet: the same beginning
    given = fit(again, numbers, [numbers(999)], steps, tmp_path / "broken", report=said.append)
    assert weights(again.network) == weights(whole.network)
    assert given == wanted
    assert any("resuming" in line for line in said) == resumed


def test_the_tokenizer_and_the_predictor_resume_to_the_bit(tmp_path: Path) -> None:
    """With dropout and coarse tokens that are sampled: everything that moves is seeded by the step."""

    def objective(kind: str, seed: int) -> Any:
        if kind == "tokenizer":
            return TokenizerObjective(tiny_tokenizer(seed, normaliser="returns").requires_grad_(True), (2,) * 5 + (1,))
        network = tiny_network(seed, **TRAINED, ffn_dropout_p=0.1, token_dropout_p=0.1, attn_dropout_p=0.1)
        return PredictorObjective(network.requires_grad_(True), tiny_tokenizer(normaliser="returns"), teacher=False)

    steps = LoopSettings(steps=8, **QUICK | {"save_every": 3, "validate_every": 5})
    draw = sampler(4)

    def batches(step: int) -> Batch:
        if step == 5:
            raise StoppedError
        return draw(step)

    for kind in ("tokenizer", "predictor"):
        whole, broken, again = objective(kind, 0), objective(kind, 0), objective(kind, 1)
        wanted = fit(whole, draw, [draw(100)], steps, tmp_path / kind / "whole")
        with pytest.raises(StoppedError):
            fit(broken, batches, [draw(100)], steps, tmp_path / kind / "broken")
        assert fit(again, draw, [draw(100)], steps, tmp_path / kind / "broken") == wanted
        assert weights(again.network) == weights(whole.network)


def test_a_finished_run_is_only_validated(tmp_path: Path) -> None:
    steps, held = LoopSettings(steps=20, **QUICK), [numbers(999)]
    toy = Line()
    wanted = fit(toy, numbers, held, steps, tmp_path)

    def refuse(step: int) -> Batch:
        raise AssertionError("no step is left to do")

    again = Line(seed=5)
    assert fit(again, refuse, held, steps, tmp_path) == wanted
    assert weights(again.network) == weights(toy.network)
    with pytest.raises(ConfigError, match=r"other settings \(steps 20 -> 10\)"):
        fit(Line(), numbers, held, LoopSettings(steps=10, **QUICK), tmp_path)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_spoils_nothing(tmp_path: Path, bad: float) -> None:
    def batches(step: int) -> Batch:
        batch = numbers(step)
        return batch._replace(bars=batch.bars * bad) if step == 14 else batch

    with pytest.raises(KronosError, match=r"step 14: the loss is (nan|inf)"):
        fit(Line(), batches, [numbers(999)], LoopSettings(steps=30, **QUICK), tmp_path)
    saved = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    assert saved["step"] == 10
    assert all(tensor.isfinite().all() for tensor in saved["network"].values())
    whole, again = Line(), Line(seed=4)
    fit(whole, numbers, [numbers(999)], LoopSettings(steps=30, **QUICK), tmp_path / "whole")
    fit(again, numbers, [numbers(999)], LoopSettings(steps=30, **QUICK), tmp_path)
    assert weights(again.network) == weights(whole.network)


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    fit(Line(), numbers, [numbers(0)], LoopSettings(steps=2, **QUICK), tmp_path)
    other = Line()
    other.network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    with pytest.raises(CheckpointError, match="does not belong to this run"):
        fit(other, numbers, [numbers(0)], LoopSettings(steps=4, **QUICK), tmp_path)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no archive at all"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: torch.save({"step": 1}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(nn.Linear(2, 2), path),  # a pickled object: never executed
    ],
    ids=["empty", "text", "truncated", "no network", "a list", "a pickle"],
)
def test_a_damaged_checkpoint(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    fit(Line(), numbers, [numbers(0)], LoopSettings(steps=2, **QUICK), tmp_path)
    spoil(tmp_path / CHECKPOINT_FILE)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        fit(Line(), numbers, [numbers(0)], LoopSettings(steps=4, **QUICK), tmp_path)


def test_validation_is_not_optional(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation"):
        fit(Line(), numbers, [], LoopSettings(steps=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_is_in_evaluation_mode_and_the_same_every_time() -> None:
    toy = Line()
    toy.network.train()
    first, second = validate(toy, [numbers(0), numbers(1)]), validate(toy, [numbers(0), numbers(1)])
    assert first == second
    each = [validate(toy, [numbers(i)])["loss"] for i in range(2)]
    assert first["loss"] == pytest.approx(sum(each) / 2)


def test_the_schedule() -> None:
    steps = LoopSettings(steps=100, lr=1.0, warmup=10, final_lr=0.02)
    rates = [learning_rate(step, steps) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(100, steps) == pytest.approx(0.02)
    assert rates[55] == pytest.approx(0.02 + 0.98 / 2, abs=1e-6)
    assert learning_rate(0, LoopSettings(steps=10, lr=1.0, warmup=0)) == pytest.approx(1.0)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        LoopSettings.of({"step": 3})


# Objectives -----------------------------------------------------------------------------------------------------------


def test_the_future_changes_no_normalised_input_of_the_lookback() -> None:
    batch = sampler()(0)
    changed = batch.bars.copy()
    changed[:, 12:] *= np.linspace(2, 9, 4)[:, None]
    for kind in ("zscore", "robust", "returns"):
        first, second = normalised(batch, kind), normalised(batch._replace(bars=changed), kind)
        assert torch.equal(first[:, :12], second[:, :12])
        assert not torch.equal(first[:, 12:], second[:, 12:])
        alone = fit_normaliser(kind, batch.bars[3, :12]).apply(batch.bars[3])
        torch.testing.assert_close(first[3], torch.from_numpy(alone), rtol=1e-5, atol=1e-5)


def test_the_tokenizer_learns(tmp_path: Path) -> None:
    objective = TokenizerObjective(tiny_tokenizer(normaliser="returns").requires_grad_(True))
    draw = sampler()
    before = validate(objective, [draw(1000)])
    after = fit(objective, draw, [draw(1000)], LoopSettings(steps=80, **QUICK), tmp_path)
    assert after["full"] < 0.8 * before["full"]
    assert set(after) == {"loss", "coarse", "full", "quantiser"}
    assert after["loss"] == pytest.approx((after["coarse"] + after["full"] + after["quantiser"]) / 2, rel=1e-5)


def test_column_weights_weigh_columns() -> None:
    tokenizer, batch = tiny_tokenizer(normaliser="returns"), sampler()(0)
    _, plain = TokenizerObjective(tokenizer).loss(batch)
    _, ones = TokenizerObjective(tokenizer, (1.0,) * 6).loss(batch)
    assert plain == pytest.approx(ones, rel=1e-5)
    x = normalised(batch, "returns")
    error = (tokenizer(x)[0][1] - x).square().mean((0, 1))
    _, only = TokenizerObjective(tokenizer, (0.0, 0.0, 0.0, 6.0, 0.0, 0.0)).loss(batch)
    assert only["full"] == pytest.approx(error[3].item(), rel=1e-5)


@pytest.mark.parametrize("stamp_of", ["bar", "next"])
def test_the_stamps_that_a_network_in_training_is_told(stamp_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Tensor] = []
    network = tiny_network(stamp_of=stamp_of, sibling_form="trained")
    forward = network.forward

    def spy(s1: Tensor, s2: Tensor, stamp: Tensor, **rest: Any) -> Any:
        told.append(stamp)
        return forward(s1, s2, stamp, **rest)

    monkeypatch.setattr(network, "forward", spy)
    batch = sampler()(0)
    PredictorObjective(network, tiny_tokenizer()).loss(batch)
    wanted = batch.stamps[:, 1:] if stamp_of == "next" else batch.stamps[:, :-1]
    np.testing.assert_array_equal(told[0].numpy(), wanted)


def clock_driven(step: int) -> Batch:
    """Bars whose body is decided by their weekday, and weekdays in no order: only a bar's own stamp tells."""
    days = np.random.default_rng([7, step]).integers(0, 7, (16, 24))
    close = 50 * np.exp(np.cumsum(np.linspace(-0.03, 0.03, 7)[days], axis=1))
    open_ = np.concatenate([np.full((16, 1), 50.0), close[:, :-1]], axis=1)
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    stamps = np.ones((16, 24, 5), dtype=np.int8)
    stamps[..., 2] = days
    return Batch(np.stack([open_, high, low, close, open_ * 0, open_ * 0], axis=-1), stamps, 16)


def test_only_a_network_told_the_next_stamp_can_know_the_next_bar_s_day(tmp_path: Path) -> None:
    """An objective that told the wrong stamps would leave both equally blind, or make both equally wise."""
    tokenizer = tiny_tokenizer(3, layers=1, normaliser="returns")  # no context: the token is the bar
    losses = {}
    for stamp_of in ("bar", "next"):
        network = tiny_network(sibling_form="trained", stamp_of=stamp_of).requires_grad_(True)
        objective, steps = PredictorObjective(network, tokenizer), LoopSettings(steps=80, **QUICK)
        losses[stamp_of] = fit(objective, clock_driven, [clock_driven(999)], steps, tmp_path / stamp_of)["loss"]
    assert losses["next"] < 0.5 * losses["bar"], losses


def test_the_predictor_s_figures_are_those_beyond_the_lookback() -> None:
    network, tokenizer, batch = tiny_network(**TRAINED), tiny_tokenizer(normaliser="returns"), sampler()(0)
    s1, s2 = tokenizer.encode(normalised(batch, "returns"), half=True)
    stamps = torch.from_numpy(batch.stamps)[:, 1:]
    logits = network(s1[:, :-1], s2[:, :-1], stamps, use_teacher_forcing=True, s1_targets=s1[:, 1:])
    parts = []
    for table, target in zip(logits, (s1, s2), strict=True):
        chosen = table.log_softmax(-1).gather(-1, target[:, 1:, None])[..., 0]
        parts.append([-chosen[:, 11:].mean().item(), -chosen[:, :11].mean().item()])  # bar 12 is the first beyond
    beyond, within = np.mean(parts, axis=0)
    loss, figures = PredictorObjective(network, tokenizer, lookback_weight=0.5).loss(batch)
    assert figures == pytest.approx({"s1": parts[0][0], "s2": parts[1][0]}, rel=1e-4)
    assert loss.item() == pytest.approx((beyond + 0.5 * within) / 1.5, rel=1e-4)
    alone, _ = PredictorObjective(network, tokenizer, lookback_weight=0.0).loss(batch)
    assert alone.item() == pytest.approx(beyond, rel=1e-4)


def test_the_predictor_s_tokenizer_is_frozen(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(normaliser="returns").train().requires_grad_(True)
    before = tokenizer.fingerprint()
    network = tiny_network(**TRAINED).requires_grad_(True)
    objective = PredictorObjective(network, tokenizer)
    draw = sampler()
    start = validate(objective, [draw(99)])["loss"]
    figures = fit(objective, draw, [draw(99)], LoopSettings(steps=40, **QUICK), tmp_path)
    assert figures["loss"] < start
    assert not tokenizer.training
    assert tokenizer.fingerprint() == before
    assert all(p.grad is None for p in tokenizer.parameters())


def test_stamps_of_a_series_are_its_own() -> None:
    one = Series.of(bars_frame(30), "x")
    np.testing.assert_array_equal(one.stamps, time_stamps(bars_frame(30).index))
