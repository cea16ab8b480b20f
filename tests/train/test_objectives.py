"""Objectives: losses written out a second time, and that no loss knows of a bar that comes after what it is about."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kronos.bars import fit_normaliser, time_stamps
from kronos.data import Batch, Series, Windows, WindowSampler
from kronos.model import Kronos, KronosTokenizer
from kronos.train import LoopSettings, PredictorObjective, Stage, TokenizerObjective, fit
from kronos.train.feeds import Draws
from kronos.train.objectives import normalised
from reference import TRAINED, banded_context, banded_fine, bars_frame, tiny_network, tiny_tokenizer
from toys import QUICK

LOOKBACK, HORIZON = 12, 4


def draws(size: int = 8, rows: int = 60) -> Draws:
    series = [Series.of(bars_frame(rows, seed=i), f"g/{i}") for i in range(2)]
    return Draws(WindowSampler(Windows(series, LOOKBACK, HORIZON), size, seed=3))


def pair(**changes: Any) -> tuple[Kronos, KronosTokenizer]:
    return tiny_network(**TRAINED | changes), tiny_tokenizer(normaliser="returns")


def shortened(batch: Batch, length: int) -> Batch:
    return batch._replace(bars=batch.bars[:, :length], stamps=batch.stamps[:, :length])


# The predictor's loss -------------------------------------------------------------------------------------------------


def nats(logits: Any, targets: Any) -> np.ndarray:
    """Minus the logarithm of each target's probability, in float64; logits (..., V), targets (...)."""
    logits = np.asarray(logits, dtype=np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(odds, np.asarray(targets)[..., None], -1)[..., 0])


def slow_parts(network: Kronos, tokenizer: KronosTokenizer, batch: Batch) -> np.ndarray:
    """Nats (2, B, T - 1) of both tokens of every bar but the first: each bar from the ones before it alone."""
    parts = np.empty((2, len(batch.bars), batch.bars.shape[1] - 1))
    for row, window in enumerate(batch.bars):
        x = fit_normaliser(tokenizer.normaliser, window[: batch.lookback]).apply(window)
        s1, s2 = tokenizer.encode(torch.from_numpy(x)[None].float(), half=True)
        for bar in range(1, len(window)):
            stamps = batch.stamps[row, 1 : bar + 1] if network.stamp_of == "next" else batch.stamps[row, :bar]
            stamp = torch.from_numpy(stamps)[None]
            context = banded_context(network, s1[:, :bar], s2[:, :bar], stamp, width=bar)
            coarse = network.head.proj_s1(context)[0, -1]
            fine = banded_fine(network, context, int(s1[0, bar]), width=bar)
            parts[0, row, bar - 1] = nats(coarse.detach(), s1[0, bar])
            parts[1, row, bar - 1] = nats(fine.detach(), s2[0, bar])
    return parts


@pytest.mark.parametrize("stamp_of", ["next", "bar"])
def test_the_loss_is_what_each_bar_is_told_by_those_before_it(stamp_of: str) -> None:
    network, tokenizer = pair(stamp_of=stamp_of)
    batch = draws(3)(0)
    parts = slow_parts(network, tokenizer, batch)
    beyond, within = parts[..., LOOKBACK - 1 :].mean((1, 2)), parts[..., : LOOKBACK - 1].mean((1, 2))
    assert abs(beyond - within).min() > 0.01  # or mistaking one for the other would go unseen

    loss, figures = PredictorObjective(network, tokenizer).loss(network.eval(), batch)
    assert loss.item() == pytest.approx(beyond.mean(), rel=1e-4)  # looked at, the look-back does not count
    assert figures == pytest.approx({"s1": beyond[0], "s2": beyond[1]}, rel=1e-4)
    for weight in (0.5, 1.0, 3.0):  # of each bar of the look-back, beside one beyond it
        objective = PredictorObjective(network, tokenizer, lookback_weight=weight)
        loss, figures = objective.loss(network.train(), batch)
        wanted = np.average(parts.mean((0, 1)), weights=[weight] * (LOOKBACK - 1) + [1.0] * HORIZON)
        assert loss.item() == pytest.approx(wanted, rel=1e-4)
        assert figures == pytest.approx({"s1": beyond[0], "s2": beyond[1]}, rel=1e-4)
    alone, _ = PredictorObjective(network, tokenizer, lookback_weight=0.0).loss(network, batch)
    assert alone.item() == pytest.approx(beyond.mean(), rel=1e-4)


def test_the_loss_with_coarse_tokens_that_are_sampled() -> None:
    network, tokenizer = pair()
    network.train()
    batch, objective = draws(3)(1), PredictorObjective(network, tokenizer, sibling="sampled", lookback_weight=0.0)
    torch.manual_seed(7)
    loss, _ = objective.loss(network, batch)

    s1, s2 = tokenizer.encode(normalised(batch, "returns"), half=True)
    coarse, context = network.decode_s1(s1[:, :-1], s2[:, :-1], torch.from_numpy(batch.stamps)[:, 1:])
    torch.manual_seed(7)
    drawn = torch.multinomial(coarse.softmax(-1).flatten(0, 1), 1).view(s1[:, 1:].shape)
    assert not torch.equal(drawn, s1[:, 1:])
    fine = network.decode_s2(context, drawn)
    wanted = (nats(coarse, s1[:, 1:]) + nats(fine, s2[:, 1:]))[:, LOOKBACK - 1 :].mean() / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    torch.manual_seed(8)
    assert objective.loss(network, batch)[0].item() != loss.item()


def test_whoever_looks_is_told_the_true_sibling() -> None:
    """A likelihood: nothing is drawn, whatever training does."""
    network, tokenizer = pair()
    batch = draws(3)(1)
    drawn, true = (PredictorObjective(network, tokenizer, sibling=kind) for kind in ("sampled", "true"))  # type: ignore[arg-type]
    state = torch.get_rng_state()
    assert drawn.loss(network.eval(), batch)[0].item() == true.loss(network.eval(), batch)[0].item()
    assert torch.equal(torch.get_rng_state(), state)


def test_another_network_than_its_own_can_be_looked_at() -> None:
    network, tokenizer = pair()
    other, batch = tiny_network(5, **TRAINED), draws(3)(0)
    wanted = PredictorObjective(other, tokenizer).loss(other, batch)[0].item()
    objective = PredictorObjective(network, tokenizer)
    assert objective.loss(other, batch)[0].item() == wanted != objective.loss(network, batch)[0].item()


# What comes later -----------------------------------------------------------------------------------------------------


def logits_of(objective: PredictorObjective, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    kept: list[Tensor] = []
    forward = objective.network.forward

    def spy(*args: Any, **rest: Any) -> Any:
        kept.extend(forward(*args, **rest))
        return tuple(kept)

    with monkeypatch.context() as patch:
        patch.setattr(objective.network, "forward", spy)
        objective.loss(objective.network, batch)
    return kept


@pytest.mark.parametrize("kind", ["returns", "zscore", "robust"])
def test_nothing_before_a_bar_knows_of_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars from t on are changed beyond recognition; what is said of bars up to t, t included, stays to the bit."""
    objective = PredictorObjective(tiny_network(**TRAINED), tiny_tokenizer(normaliser=kind))
    batch = draws(4)(0)
    before = logits_of(objective, batch, monkeypatch)
    for t in range(LOOKBACK, LOOKBACK + HORIZON):
        bars = batch.bars.copy()
        bars[:, t:] *= np.linspace(3, 9, bars.shape[1] - t)[:, None]
        bars[:, t:, 4:] = 0
        after = logits_of(objective, batch._replace(bars=bars), monkeypatch)
        coarse, fine = zip(before, after, strict=True)
        assert torch.equal(coarse[0][:, :t], coarse[1][:, :t])  # row i is about bar i + 1
        assert torch.equal(fine[0][:, : t - 1], fine[1][:, : t - 1])  # bar t's own coarse token tells of its fine one
        if t + 1 < bars.shape[1]:
            assert not torch.equal(coarse[0][:, t:], coarse[1][:, t:])


def test_a_likelihood_is_the_sum_of_what_came_bar_by_bar() -> None:
    """The loss of the first bars is the same whether the others are there or not."""
    network, tokenizer = pair()
    objective, batch = PredictorObjective(network, tokenizer), draws(4)(2)
    each = slow_parts(network, tokenizer, batch)[..., LOOKBACK - 1 :].mean(0)  # (B, H)
    for ahead in range(1, HORIZON + 1):
        loss, _ = objective.loss(network, shortened(batch, LOOKBACK + ahead))
        assert loss.item() == pytest.approx(each[:, :ahead].mean(), rel=1e-4)


def test_the_future_changes_no_normalised_input_of_the_lookback() -> None:
    batch = draws()(0)
    changed = batch.bars.copy()
    changed[:, LOOKBACK:] *= np.linspace(2, 9, HORIZON)[:, None]
    for kind in ("zscore", "robust", "returns"):
        first, second = normalised(batch, kind), normalised(batch._replace(bars=changed), kind)
        assert torch.equal(first[:, :LOOKBACK], second[:, :LOOKBACK])
        assert not torch.equal(first[:, LOOKBACK:], second[:, LOOKBACK:])
        alone = fit_normaliser(kind, batch.bars[3, :LOOKBACK]).apply(batch.bars[3])
        torch.testing.assert_close(first[3], torch.from_numpy(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stamp_of", ["bar", "next"])
def test_the_stamps_that_a_network_in_training_is_told(stamp_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Tensor] = []
    network, tokenizer = pair(stamp_of=stamp_of)
    forward = network.forward

    def spy(s1: Tensor, s2: Tensor, stamp: Tensor, **rest: Any) -> Any:
        told.append(stamp)
        return forward(s1, s2, stamp, **rest)

    monkeypatch.setattr(network, "forward", spy)
    batch = draws()(0)
    PredictorObjective(network, tokenizer).loss(network, batch)
    wanted = batch.stamps[:, 1:] if stamp_of == "next" else batch.stamps[:, :-1]
    np.testing.assert_array_equal(told[0].numpy(), wanted)


class ClockDriven:
    """Bars whose body is decided by their weekday, and weekdays in no order: only a bar's own stamp tells."""

    epoch = 10

    def __call__(self, number: int) -> Batch:
        days = np.random.default_rng([7, number]).integers(0, 7, (16, 24))
        close = 50 * np.exp(np.cumsum(np.linspace(-0.03, 0.03, 7)[days], axis=1))
        open_ = np.concatenate([np.full((16, 1), 50.0), close[:, :-1]], axis=1)
        high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
        stamps = np.ones((16, 24, 5), dtype=np.int8)
        stamps[..., 2] = days
        return Batch(np.stack([open_, high, low, close, open_ * 0, open_ * 0], axis=-1), stamps, 16)


def test_only_a_network_told_the_next_stamp_can_know_the_next_bar_s_day(tmp_path: Path) -> None:
    """An objective that told the wrong stamps would leave both equally blind, or make both equally wise."""
    tokenizer = tiny_tokenizer(3, layers=1, normaliser="returns")  # no context: the token is the bar
    losses, feed = {}, ClockDriven()
    settings = LoopSettings(steps=40, lr=5e-2, warmup=5, validate_every=40, save_every=40)
    for stamp_of in ("bar", "next"):
        network = tiny_network(sibling_form="trained", stamp_of=stamp_of, n_layers=1).requires_grad_(True)
        stage = Stage("p", tmp_path / stamp_of)
        fitted = fit(PredictorObjective(network, tokenizer), feed, [feed(999)], settings, stage)
        losses[stamp_of] = fitted.figures["val_loss"]
    assert losses["next"] < 0.5 * losses["bar"], losses


def test_stamps_of_a_series_are_its_own() -> None:
    one = Series.of(bars_frame(30), "x")
    np.testing.assert_array_equal(one.stamps, time_stamps(bars_frame(30).index))


# The frozen tokenizer -------------------------------------------------------------------------------------------------


def test_the_predictor_s_tokenizer_is_frozen(tmp_path: Path) -> None:
    network, tokenizer = pair(n_layers=1)
    tokenizer.train().requires_grad_(True)
    before = tokenizer.fingerprint()
    objective, feed = PredictorObjective(network.requires_grad_(True), tokenizer), draws()
    start = objective.loss(network, feed(99))[0].item()
    fitted = fit(objective, feed, [feed(99)], LoopSettings(steps=25, **QUICK), Stage("p", tmp_path))
    assert fitted.figures["val_loss"] < 0.95 * start
    assert not tokenizer.training
    assert tokenizer.fingerprint() == before
    assert all(weight.grad is None and not weight.requires_grad for weight in tokenizer.parameters())


def test_tokens_are_the_same_in_every_precision() -> None:
    network, tokenizer = pair()
    objective, batch = PredictorObjective(network, tokenizer), draws()(0)
    wanted = tokenizer.encode(normalised(batch, "returns"), half=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = objective.tokens(batch, torch.device("cpu"))
        rounded = tokenizer.encode(normalised(batch, "returns"), half=True)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(rounded, wanted, strict=True))  # autocast would have cost some


# The tokenizer's loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["returns", "zscore"])
def test_the_tokenizer_s_loss_is_the_published_one(kind: str) -> None:
    tokenizer, batch = tiny_tokenizer(normaliser=kind), draws()(0)
    loss, figures = TokenizerObjective(tokenizer).loss(tokenizer, batch)
    wanted, coarse, full, quantiser = tokenizer.loss(normalised(batch, kind))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert figures == pytest.approx({"coarse": coarse.item(), "full": full.item(), "quantiser": quantiser.item()})
    ones, same = TokenizerObjective(tokenizer, (1.0,) * 6).loss(tokenizer, batch)
    assert ones.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert same == pytest.approx(figures, rel=1e-6)


def test_column_weights_weigh_columns() -> None:
    tokenizer, batch = tiny_tokenizer(normaliser="returns"), draws()(0)
    chosen = (2.0, 0.0, 1.0, 3.0, 0.5, 1.0)
    x = normalised(batch, "returns")
    (coarse_x, full_x), quantiser, _, _ = tokenizer(x)
    coarse, full = (
        np.mean([w * F.mse_loss(y[..., i], x[..., i]).item() for i, w in enumerate(chosen)]) for y in (coarse_x, full_x)
    )
    loss, figures = TokenizerObjective(tokenizer, chosen).loss(tokenizer, batch)
    assert figures == pytest.approx({"coarse": coarse, "full": full, "quantiser": quantiser.item()}, rel=1e-5)
    assert loss.item() == pytest.approx((coarse + full + quantiser.item()) / 2, rel=1e-5)


def test_a_bar_s_whole_return_can_be_weighed() -> None:
    """Gap and body of the kind `returns` are compressed moves; together they are the bar's return."""
    tokenizer, batch = tiny_tokenizer(normaliser="returns"), draws()(0)
    x = normalised(batch, "returns")
    (coarse_x, full_x), _, _, _ = tokenizer(x)
    whole = [np.arcsinh(np.sinh(y[..., 0]) + np.sinh(y[..., 1])) for y in (coarse_x.numpy(), full_x.numpy(), x.numpy())]
    for columns in (None, (2.0, 0.0, 1.0, 3.0, 0.5, 1.0)):
        plain, figures = TokenizerObjective(tokenizer, columns).loss(tokenizer, batch)
        loss, weighed = TokenizerObjective(tokenizer, columns, 4.0).loss(tokenizer, batch)
        added = [4.0 * np.mean((part - whole[2]) ** 2) / 6 for part in whole[:2]]
        assert weighed["coarse"] == pytest.approx(figures["coarse"] + added[0], rel=1e-5)
        assert weighed["full"] == pytest.approx(figures["full"] + added[1], rel=1e-5)
        assert loss.item() == pytest.approx(plain.item() + sum(added) / 2, rel=1e-5)


def test_the_tokenizer_learns(tmp_path: Path) -> None:
    tokenizer, feed = tiny_tokenizer(normaliser="returns").requires_grad_(True), draws()
    objective = TokenizerObjective(tokenizer)
    before = objective.loss(tokenizer, feed(1000))[1]["full"]
    fitted = fit(objective, feed, [feed(1000)], LoopSettings(steps=40, **QUICK), Stage("t", tmp_path))
    figures = fitted.figures
    assert figures["val_full"] < 0.8 * before
    assert set(figures) == {"val_loss", "val_coarse", "val_full", "val_quantiser"}
    parts = figures["val_coarse"] + figures["val_full"] + figures["val_quantiser"]
    assert figures["val_loss"] == pytest.approx(parts / 2, rel=1e-5)
