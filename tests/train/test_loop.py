"""The loop: its steps written out a second time, what is looked at, what is kept, when it ends, what it refuses."""

import copy
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kronos.data import Batch
from kronos.errors import ConfigError, KronosError
from kronos.train import Fitted, LoopSettings, PredictorObjective, Tuning
from kronos.train.checkpoints import Keeper, read_state
from kronos.train.lora import is_adapted
from kronos.train.schedule import calm_share, rate_share, volatility_of
from kronos.train.tuning import parameter_groups, prepare
from reference import TRAINED, tiny_network, tiny_tokenizer
from toys import QUICK, Adding, Listener, Numbers, held, log_of, numbers, train, weights


def quick(steps: int | None = 20, **changes: Any) -> LoopSettings:
    return LoopSettings(**QUICK | {"steps": steps} | changes)


@torch.no_grad()
def looked_at(objective: Adding, network: nn.Module, batches: list[Batch]) -> float:
    """The mean loss over windows, of a network that is asked and not trained."""
    losses = [(objective.loss(network.eval(), batch)[0].item(), len(batch.bars)) for batch in batches]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def state_of(folder: Path) -> dict[str, Any]:
    found = Keeper(folder, 1).latest()
    assert found is not None
    return found[1]


# The steps ------------------------------------------------------------------------------------------------------------


def test_losses_fall_and_are_logged(tmp_path: Path) -> None:
    heard, toy = Listener(), Adding()
    before = looked_at(toy, toy.network, held)
    fitted = train(toy, tmp_path, quick(30), reporter=heard)
    after = looked_at(toy, toy.network, held)
    assert after < 0.3 * before
    assert fitted.figures["val_loss"] == pytest.approx(after)
    assert (fitted.step, fitted.steps, fitted.reason, fitted.overfitting) == (30, 30, "all steps", None)
    assert not toy.network.training

    log = log_of(tmp_path)
    assert [line["step"] for line in log] == list(range(31))
    assert log[0]["val_loss"] == pytest.approx(before)  # what the first step begins from
    assert all({"lr", "loss", "root", "grad_norm"} <= line.keys() for line in log[1:])
    assert [line["step"] for line in log if "val_loss" in line] == [0, 10, 20, 30]
    assert {key: log[-1][key] for key in fitted.figures} == fitted.figures
    assert set(fitted.figures) == {"val_loss", "val_root"}
    assert np.mean([line["loss"] for line in log[-10:]]) < 0.5 * log[1]["loss"]
    assert "toy step 30/30" in heard.text
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == [
        "best.pt",
        "checkpoints/step-00000020.pt",
        "checkpoints/step-00000030.pt",
        "metrics.csv",
        "metrics.jsonl",
    ]


def test_who_listens_hears_of_every_step(tmp_path: Path) -> None:
    heard = Listener()
    fitted = train(Adding(), tmp_path, quick(12), reporter=heard, tokens_per_bar=3)
    log = log_of(tmp_path)[1:]
    assert [tick[:5] for tick in heard.ticks] == [
        ("toy", n, 12, log[n - 1]["loss"], log[n - 1]["lr"]) for n in range(1, 13)
    ]
    assert all(tick.tokens_per_second > 0 and tick.seconds_left >= 0 for tick in heard.ticks)
    assert heard.ticks[-1].seconds_left == 0
    bars = 12 * 8 * 4
    assert 0 < fitted.tokens_per_second <= 3 * bars / fitted.seconds * 1.0001  # reckoned a moment later


def slow_run(toy: Adding, steps: int, settings: LoopSettings, seed: int) -> list[float]:
    """The steps by hand; the norms of the gradients."""
    decayed = [weight for weight in toy.network.parameters() if weight.ndim > 1]
    plain = [weight for weight in toy.network.parameters() if weight.ndim == 1]
    adamw = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": settings.weight_decay}],
        betas=settings.betas,
        foreach=False,
    )
    norms = []
    for step in range(steps):
        toy.network.train()
        adamw.zero_grad()
        for part in range(settings.accumulate):
            number = step * settings.accumulate + part
            torch.manual_seed(seed * 2**40 + number)
            loss: Tensor = toy.loss(toy.network, numbers(number))[0] / settings.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
        grads = [weight.grad for weight in toy.network.parameters() if weight.grad is not None]
        norm = math.sqrt(sum(grad.double().square().sum().item() for grad in grads))
        norms.append(norm)
        for group in adamw.param_groups:
            group["lr"] = settings.lr * rate_share(step, steps, settings)
        if settings.clip:
            for grad in grads:
                grad.mul_(min(1.0, settings.clip / (norm + 1e-6)))
        adamw.step()
    return norms


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"clip": 0.3, "schedule": "onecycle"},
        {"clip": 0.0, "accumulate": 3, "weight_decay": 0.5, "betas": (0.8, 0.9)},
    ],
    ids=["usual", "clipped", "accumulated"],
)
def test_the_steps_are_those_of_a_run_by_hand(tmp_path: Path, chosen: dict[str, Any]) -> None:
    settings = quick(6, **chosen)
    ours, theirs = Adding(), Adding()
    train(ours, tmp_path, settings, seed=5)
    norms = slow_run(theirs, 6, settings, seed=5)
    log = log_of(tmp_path)[1:]
    assert [line["grad_norm"] for line in log] == pytest.approx(norms, rel=1e-4)
    assert [line["lr"] for line in log] == pytest.approx([settings.lr * rate_share(i, 6, settings) for i in range(6)])
    for (name, our), their in zip(ours.network.named_parameters(), theirs.network.parameters(), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-5, msg=name)


def test_small_batches_added_up_are_one_large_batch(tmp_path: Path) -> None:
    """Where losses are means over equal counts, and nothing is random."""

    class Joined(Numbers):
        def __call__(self, number: int) -> Batch:
            parts = [numbers(number * 4 + i) for i in range(4)]
            return Batch(np.concatenate([p.bars for p in parts]), np.concatenate([p.stamps for p in parts]), 2)

    several, one = Adding(drop=0.0), Adding(drop=0.0)
    train(several, tmp_path / "several", quick(8, accumulate=4))
    train(one, tmp_path / "one", quick(8), Joined())
    for ours, theirs in zip(several.network.parameters(), one.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    for ours_, theirs_ in zip(log_of(tmp_path / "several"), log_of(tmp_path / "one"), strict=True):
        assert ours_["loss" if "loss" in ours_ else "val_loss"] == pytest.approx(
            theirs_["loss" if "loss" in theirs_ else "val_loss"], rel=1e-3
        )


def test_a_run_counted_in_epochs(tmp_path: Path) -> None:
    read: list[int] = []

    class Counted(Numbers):
        def __call__(self, number: int) -> Batch:
            read.append(number)
            return super().__call__(number)

    fitted = train(Adding(), tmp_path / "a", quick(None, epochs=1.5, accumulate=2), Counted(epoch=7))
    assert (fitted.step, fitted.steps) == (6, 6)  # 10.5 batches, two a step
    assert read == list(range(12))
    assert train(Adding(), tmp_path / "b", quick(None), Counted(epoch=3)).step == 3


# Volatility, precision, memory ----------------------------------------------------------------------------------------


def test_wild_batches_are_learned_from_more_slowly(tmp_path: Path) -> None:
    """The rate of a step is the mean over its batches."""
    for number, base in enumerate((0.5, "auto")):
        settings = quick(5, base_volatility=base, accumulate=2)
        train(Adding(), tmp_path / str(number), settings, Numbers(epoch=5))
        found = base if isinstance(base, float) else median(volatility_of(numbers(i)) for i in range(5))
        calm = [calm_share(numbers(i), found) for i in range(10)]
        wanted = [
            settings.lr * rate_share(step, 5, settings) * (calm[2 * step] + calm[2 * step + 1]) / 2 for step in range(5)
        ]
        assert [line["lr"] for line in log_of(tmp_path / str(number))[1:]] == pytest.approx(wanted)
        assert len(set(calm)) == 10


def predictor(seed: int = 0, **changes: Any) -> PredictorObjective:
    network = tiny_network(seed, **TRAINED | {"n_layers": 1} | changes).requires_grad_(True)
    return PredictorObjective(network, tiny_tokenizer(normaliser="returns"))


class Candles(Numbers):
    """Valid bars in no order."""

    def __call__(self, number: int) -> Batch:
        rng = np.random.default_rng(number)
        close = 50 * np.exp(rng.normal(0, 0.01, (4, 16)).cumsum(1))
        bars = np.stack([close * f for f in (1.001, 1.01, 0.99, 1.0)] + [close * 0 + 7, close * 7], axis=-1)
        stamps = rng.integers([0, 0, 0, 1, 1], [60, 24, 7, 31, 12], (4, 16, 5)).astype(np.int8)
        return Batch(bars, stamps, 12)


candles = Candles()


def test_half_precision_is_close_and_its_weights_are_whole(tmp_path: Path) -> None:
    logs = {}
    for precision in ("float32", "bfloat16"):
        objective = predictor()
        train(objective, tmp_path / precision, quick(10, precision=precision), candles, validation=[candles(99)])
        assert {weight.dtype for weight in objective.network.parameters()} == {torch.float32}
        logs[precision] = log_of(tmp_path / precision)
    for whole, half in zip(*logs.values(), strict=True):
        for key in whole.keys() & {"loss", "val_loss"}:
            assert half[key] == pytest.approx(whole[key], rel=0.05)
    assert logs["float32"] != logs["bfloat16"]


def test_activations_computed_twice_give_the_same_gradients(tmp_path: Path) -> None:
    """With dropout, whose second draw must be the first one's."""
    networks = []
    for checkpointing in (False, True):
        objective = predictor(ffn_dropout_p=0.2, resid_dropout_p=0.2, attn_dropout_p=0.2, n_layers=2)
        train(
            objective,
            tmp_path / str(checkpointing),
            quick(4, checkpointing=checkpointing),
            candles,
            validation=[candles(99)],
        )
        assert objective.network.transformer.checkpointing == checkpointing
        networks.append(objective.network)
    for ours, theirs in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# Averages -------------------------------------------------------------------------------------------------------------


def test_averaged_weights_are_what_is_validated_and_kept(tmp_path: Path) -> None:
    plain, averaged = Adding(), Adding()
    path: list[dict[str, Tensor]] = [copy.deepcopy(plain.network.state_dict())]

    class Watching(Listener):
        def tick(self, progress: Any) -> None:
            path.append(copy.deepcopy(plain.network.state_dict()))

    train(plain, tmp_path / "plain", quick(20), reporter=Watching())
    fitted = train(averaged, tmp_path / "averaged", quick(20, ema=0.8))

    mean = path[0]
    for step, now in enumerate(path[1:], start=1):
        decay = min(0.8, (1 + step) / (10 + step))
        mean = {name: decay * mean[name] + (1 - decay) * now[name] for name in mean}
    for name, weight in averaged.network.state_dict().items():
        torch.testing.assert_close(weight, mean[name], rtol=1e-4, atol=1e-5)
    assert fitted.figures["val_loss"] == pytest.approx(looked_at(averaged, averaged.network, held), rel=1e-5)
    saved = state_of(tmp_path / "averaged")
    assert all(torch.equal(saved["average"][name], weight) for name, weight in averaged.network.state_dict().items())
    assert all(torch.equal(saved["network"][name], weight) for name, weight in path[-1].items())
    logs = [log_of(tmp_path / kind) for kind in ("plain", "averaged")]
    assert [line.get("loss") for line in logs[0]] == [line.get("loss") for line in logs[1]]  # training never sees them
    assert logs[0][10]["val_loss"] != logs[1][10]["val_loss"]
    best = read_state(tmp_path / "averaged" / "best.pt")
    if best["step"] == 20:
        assert all(torch.equal(best["network"][name], weight) for name, weight in saved["average"].items())


def test_averages_are_not_trained(tmp_path: Path) -> None:
    toy = Adding()
    train(toy, tmp_path, quick(5, ema=0.9))
    assert all(weight.requires_grad for weight in toy.network.parameters())


# What is kept ---------------------------------------------------------------------------------------------------------


class Souring(Numbers):
    """A feed that turns after ten steps: what was learned is unlearned."""

    def __call__(self, number: int) -> Batch:
        batch = super().__call__(number)
        return batch if number < 10 else batch._replace(bars=batch.bars * np.exp(3.0))


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_best_weights_are_the_best(tmp_path: Path, ema: float) -> None:
    ends = {}
    for keep in ("best", "last"):
        toy = Adding()
        fitted = train(toy, tmp_path / keep, quick(24, keep=keep, validate_every=3, ema=ema), Souring())
        ends[keep] = (fitted, looked_at(toy, toy.network, held))
    log = {int(line["step"]): line["val_loss"] for line in log_of(tmp_path / "best") if "val_loss" in line}
    lowest = min(log, key=lambda step: log[step])
    assert 0 < lowest < 24
    fitted, reached = ends["best"]
    assert (fitted.best.step, fitted.best.value) == (lowest, log[lowest])
    assert fitted.best.since == (24 - lowest) / 3
    assert reached == pytest.approx(log[lowest], rel=1e-5)
    best = read_state(tmp_path / "best" / "best.pt")
    assert (best["step"], best["value"]) == (lowest, log[lowest])
    stored = Adding(seed=1)
    stored.network.load_state_dict(best["network"])
    assert looked_at(stored, stored.network, held) == pytest.approx(log[lowest], rel=1e-5)
    last, end = ends["last"]
    assert end == pytest.approx(log[24], rel=1e-5)
    assert end > reached
    assert last.best == fitted.best  # known all the same


def test_where_training_only_hurts_the_beginning_is_kept(tmp_path: Path) -> None:
    trained = Adding()
    train(trained, tmp_path / "before", quick(20))
    start = weights(trained.network)
    fitted = train(trained, tmp_path / "after", quick(10, keep="best", lr=5.0, warmup=0, validate_every=2))
    assert fitted.best.step == 0
    assert weights(trained.network) == start


def test_patience(tmp_path: Path) -> None:
    heard = Listener()
    fitted = train(Adding(), tmp_path, quick(100, patience=3, validate_every=3), Souring(), reporter=heard)
    best = fitted.best.step
    assert 0 < best < fitted.step < 100
    assert fitted.step == best + 9
    assert fitted.reason == f"no better validation in 3 since step {best}"
    assert log_of(tmp_path)[-1]["step"] == fitted.step
    assert state_of(tmp_path)["step"] == fitted.step
    again = train(Adding(9), tmp_path, quick(100, patience=3, validate_every=3), refusing, reporter=heard)
    assert (again.step, again.reason, again.best) == (fitted.step, fitted.reason, fitted.best)
    assert f"done before, {fitted.reason}" in heard.text


def test_a_run_that_gets_better_is_not_ended(tmp_path: Path) -> None:
    assert train(Adding(), tmp_path, quick(30, patience=2, validate_every=10)).reason == "all steps"


class Riddle(Adding):
    """Asks for what cannot be learned, only known by heart."""

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        x = torch.from_numpy(batch.bars).log()
        error = (network(x.float()) - 3 * (1e4 * x.sum(-1)).sin().float()).square().mean()
        return error, {}


def test_overfitting_is_said_in_figures(tmp_path: Path) -> None:
    """Batches that are all the same one."""

    class ByHeart(Numbers):
        def __call__(self, number: int) -> Batch:
            return super().__call__(0)

    fitted = train(Riddle(drop=0.0), tmp_path, quick(60, validate_every=5, weight_decay=0.0), ByHeart(size=2))
    assert fitted.overfitting is not None
    assert f"overfitting since step {fitted.best.step}:" in fitted.overfitting
    assert f"rose from {fitted.best.value:.4f} to {fitted.figures['val_loss']:.4f}" in fitted.overfitting


# Scores of rollouts ---------------------------------------------------------------------------------------------------


class Scored:
    """Says that the third look was the best, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        assert not network.training
        torch.manual_seed(99)  # whoever samples leaves the generator anywhere
        self.shown.append(weights(network))
        return {"crps": np.float64(abs(len(self.shown) - 3) + 1.5), "coverage": np.float32(0.5)}  # type: ignore[dict-item]


def test_the_best_by_a_score_of_rollouts(tmp_path: Path) -> None:
    score, toy = Scored(), Adding()
    settings = quick(22, metric="crps", score_every=2, validate_every=3, keep="best", patience=0)
    fitted = train(toy, tmp_path / "scored", settings, rollouts=score)
    log = log_of(tmp_path / "scored")
    assert [line["step"] for line in log if "task_crps" in line] == [0, 6, 12, 18, 22]  # at the end in any case
    assert [line["task_crps"] for line in log if "task_crps" in line] == [3.5, 2.5, 1.5, 2.5, 3.5]
    assert (fitted.best.step, fitted.best.value) == (12, 1.5)
    assert weights(toy.network) == score.shown[2]
    assert fitted.figures["task_coverage"] == 0.5
    assert state_of(tmp_path / "scored")["figures"] == fitted.figures  # a checkpoint that can be read back

    plain = Adding()
    train(plain, tmp_path / "plain", quick(22, validate_every=3))
    assert [line.get("loss") for line in log] == [line.get("loss") for line in log_of(tmp_path / "plain")]


def test_scores_are_only_asked_for_where_they_are_wanted(tmp_path: Path) -> None:
    score = Scored()
    train(Adding(), tmp_path / "never", quick(10, validate_every=5), rollouts=score)
    assert not score.shown
    train(Adding(), tmp_path / "told", quick(10, validate_every=5, score_every=1), rollouts=score)
    assert len(score.shown) == 3
    for changes in ({"score_every": 0}, {"score_every": 1}):
        with pytest.raises(ConfigError, match="'crps' needs a score of rollouts"):
            train(
                Adding(),
                tmp_path / "refused",
                quick(10, metric="crps", **changes),
                rollouts=score if not changes["score_every"] else None,
            )
    assert not (tmp_path / "refused").exists()


def test_averages_are_what_is_scored(tmp_path: Path) -> None:
    score, toy = Scored(), Adding()
    train(toy, tmp_path, quick(6, validate_every=6, score_every=1, ema=0.7), rollouts=score)
    assert score.shown[-1] == weights(toy.network)


def test_adapters_are_scored_as_the_network_they_add_up_to(tmp_path: Path) -> None:
    tuning, seen = Tuning(what="lora", rank=2), []

    def score(network: nn.Module) -> Mapping[str, float]:
        seen.append(network)
        return {"crps": 1.0}

    toy = Adding()
    before = toy.network.embed.weight.detach().clone()
    prepare(toy.network, tuning, 0)
    train(toy, tmp_path, quick(6, score_every=1, validate_every=6), rollouts=score, tuning=tuning)
    assert is_adapted(toy.network)
    assert not is_adapted(seen[-1])
    assert torch.equal(toy.network.embed.weight, before)
    x = torch.from_numpy(held[0].bars).float()
    torch.testing.assert_close(seen[-1](x), toy.network(x), rtol=1e-4, atol=1e-5)
    assert {g["scale"] for g in parameter_groups(toy.network, tuning, 0.0)} == {1.0}


# Validation -----------------------------------------------------------------------------------------------------------


def test_validation_is_not_optional(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation"):
        train(Adding(), tmp_path / "run", quick(2), validation=[])
    assert not (tmp_path / "run").exists()


def test_every_window_of_the_validation_counts_as_much(tmp_path: Path) -> None:
    uneven = [Numbers(size)(number) for number, size in ((1, 8), (2, 1), (3, 3))]
    toy = Adding()
    train(toy, tmp_path, quick(4, validate_every=2), validation=uneven)
    log = log_of(tmp_path)
    assert log[0]["val_loss"] == pytest.approx(looked_at(Adding(), Adding().network, uneven), rel=1e-5)
    assert log[-1]["val_loss"] == pytest.approx(looked_at(toy, toy.network, uneven), rel=1e-5)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    often, seldom = Adding(), Adding()
    train(often, tmp_path / "often", quick(10, validate_every=1))
    train(seldom, tmp_path / "seldom", quick(10, validate_every=10))
    assert weights(often.network) == weights(seldom.network)


def test_validation_of_a_predictor_is_a_likelihood_of_the_bars_beyond(tmp_path: Path) -> None:
    """True coarse tokens and no look-back, although training samples and counts it."""
    objective = predictor()
    objective.sibling, objective.lookback_weight = "sampled", 0.5
    plain = PredictorObjective(objective.network, objective.tokenizer, sibling="true", lookback_weight=0.0)
    before = plain.loss(objective.network.eval(), candles(99))[0].item()
    fitted = train(objective, tmp_path, quick(3, validate_every=3), candles, validation=[candles(99)])
    assert log_of(tmp_path)[0]["val_loss"] == pytest.approx(before, rel=1e-6)
    after = plain.loss(objective.network, candles(99))[0].item()
    assert fitted.figures["val_loss"] == pytest.approx(after, rel=1e-6)


# The end --------------------------------------------------------------------------------------------------------------


class Refusing(Numbers):
    def __call__(self, number: int) -> Batch:
        raise AssertionError("no step is left to do")


refusing = Refusing()


@pytest.mark.parametrize("chosen", [{}, {"keep": "best"}, {"ema": 0.5}])
def test_a_finished_run_gives_its_weights_again(tmp_path: Path, chosen: dict[str, Any]) -> None:
    toy = Adding()
    wanted = train(toy, tmp_path, quick(20, **chosen), Souring())
    log = (tmp_path / "metrics.jsonl").read_bytes()
    again = Adding(seed=5)
    given = train(again, tmp_path, quick(20, **chosen), refusing)
    assert told(given) == told(wanted)
    assert weights(again.network) == weights(toy.network)
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


def told(fitted: Fitted) -> tuple[Any, ...]:
    """Everything but how long it took."""
    return fitted.step, fitted.steps, fitted.reason, fitted.best, fitted.figures, fitted.overfitting


def test_a_run_in_another_thread(tmp_path: Path) -> None:
    """Where no signal can be heard."""
    ends: list[Fitted] = []
    toy, whole = Adding(), Adding()
    runner = threading.Thread(target=lambda: ends.append(train(toy, tmp_path / "a", quick(5))))
    runner.start()
    runner.join()
    assert ends[0].step == 5
    train(whole, tmp_path / "b", quick(5))
    assert weights(toy.network) == weights(whole.network)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


# Nonsense -------------------------------------------------------------------------------------------------------------


class Spoilt(Numbers):
    """One batch is not what it should be."""

    def __init__(self, bad: float, at: int = 14) -> None:
        super().__init__()
        self.bad, self.at = bad, at

    def __call__(self, number: int) -> Batch:
        batch = super().__call__(number)
        return batch._replace(bars=batch.bars * self.bad) if number == self.at else batch


class Wrong(Adding):
    """Once the loss is no number, or the slope of the root of nothing."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__()
        self.at, self.what, self.calls = at, what, 0

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        error, figures = super().loss(network, batch)
        self.calls += network.training
        if network.training and self.calls == self.at:
            error = error + (error - error).sqrt() if self.what == "slope" else error * float(self.what)
        return error, figures


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_the_run_and_spoils_nothing(tmp_path: Path, bad: str) -> None:
    with pytest.raises(KronosError, match=rf"toy, step 15: the loss is {bad}; the checkpoint of step 10 in .* is good"):
        train(Wrong(15, bad), tmp_path, quick(18))
    saved = state_of(tmp_path)
    assert saved["step"] == 10
    assert all(tensor.isfinite().all() for tensor in saved["network"].values())
    assert [line["step"] for line in log_of(tmp_path)][-1] == 14
    whole, again = Adding(), Adding(seed=4)
    train(whole, tmp_path / "whole", quick(18))
    train(again, tmp_path, quick(18))  # whatever it was is mended
    assert weights(again.network) == weights(whole.network)
    assert log_of(tmp_path) == log_of(tmp_path / "whole")


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_no_number_moves_no_weight(tmp_path: Path, optimiser: str, clip: float) -> None:
    toy = Wrong(8, "slope")
    with pytest.raises(KronosError, match=r"step 8: the gradient's norm is (nan|inf); the checkpoint of step 5"):
        train(toy, tmp_path, quick(30, save_every=5, clip=clip, optimiser=optimiser))
    assert all(weight.isfinite().all() for weight in toy.network.parameters())
    assert state_of(tmp_path)["step"] == 5


def test_nonsense_before_anything_was_saved(tmp_path: Path) -> None:
    with pytest.raises(KronosError, match=r"step 1: the loss is nan; nothing was saved yet"):
        train(Adding(), tmp_path / "a", quick(10), Spoilt(math.nan, at=0))
    with pytest.raises(KronosError, match=r"step 0: validation gives nan; nothing was saved yet"):
        train(Adding(), tmp_path / "b", quick(10), validation=[Spoilt(math.nan, at=0)(0)])


def test_a_validation_that_is_no_number(tmp_path: Path) -> None:
    calls = []

    def score(network: nn.Module) -> Mapping[str, float]:
        calls.append(network)
        return {"crps": math.nan if len(calls) == 3 else 1.0}

    settings = quick(20, metric="crps", score_every=1, validate_every=5, save_every=4)
    with pytest.raises(KronosError, match=r"step 10: validation gives nan; the checkpoint of step 8 in .* is good"):
        train(Adding(), tmp_path, settings, rollouts=score)
    assert read_state(tmp_path / "best.pt")["step"] == 0


# Settings -------------------------------------------------------------------------------------------------------------


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        LoopSettings.of({"step": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"epochs": 0},
        {"accumulate": 0},
        {"lr": 0},
        {"lr": "inf"},
        {"betas": [0.9]},
        {"ema": 1.0},
        {"clip": -1},
        {"schedule": "linear"},
        {"precision": "float16"},
        {"keep": "worst"},
        {"metric": "nll"},
        {"base_volatility": 0},
        {"base_volatility": "own"},
        {"validate_every": 0},
        {"keep_last": 0},
        {"patience": -1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LoopSettings.of(wrong)


def test_settings_come_back_from_their_tree() -> None:
    settings = quick(None, epochs=2.5, base_volatility="auto", optimiser="muon", muon_lr=0.1)
    assert LoopSettings.of(settings.tree()) == settings
    assert settings.against(settings.tree()) == {}
    changed = quick(None, epochs=2.5, base_volatility="auto", optimiser="muon", muon_lr=0.2, save_every=3, keep_last=9)
    assert changed.against(settings.tree()) == {"muon_lr": (0.1, 0.2)}
