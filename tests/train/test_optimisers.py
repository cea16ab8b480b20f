"""Muon against singular values and a slow version of itself; which weights it moves; and that its states go on."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from kronos.train import LoopSettings, Tuning
from kronos.train.optimisers import Muon, make_optimisers, orthogonal
from kronos.train.tuning import parameter_groups, prepare
from reference import tiny_network, tiny_tokenizer

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
FEED_FORWARD = ("w1", "w2", "w3")

Matrix = NDArray[np.float64]


def slow_orthogonal(matrix: Matrix) -> Matrix:
    """The published quintic on singular values: each goes from s to a s + b s^3 + c s^5, five times."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.linalg.norm(s) + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ v


# The orthogonal factor ------------------------------------------------------------------------------------------------


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 2**31), scale=st.floats(1e-4, 1e4))
@settings(max_examples=60)
def test_singular_values_go_to_one_and_vectors_stay(rows: int, columns: int, seed: int, scale: float) -> None:
    matrix = np.random.default_rng(seed).normal(0, scale, (rows, columns))
    found = orthogonal(torch.from_numpy(matrix)).numpy()
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ found @ v.T
    plain = s / np.linalg.norm(s) > 0.01  # smaller ones have farther to go
    values = np.diag(inside)
    assert ((values[plain] > 0.65) & (values[plain] < 1.25)).all()
    assert (values > 0).all()
    np.testing.assert_allclose(inside, np.diag(values), atol=1e-6)  # the same vectors, in the same order
    np.testing.assert_allclose(u @ inside @ v, found, atol=1e-6)  # and nothing outside of them
    np.testing.assert_allclose(found, slow_orthogonal(matrix), atol=1e-5)


def test_size_does_not_matter_and_nothing_stays_nothing() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(5, 9)
    torch.testing.assert_close(orthogonal(matrix), orthogonal(matrix * 512))
    torch.testing.assert_close(orthogonal(matrix.T), orthogonal(matrix).T)
    assert torch.equal(orthogonal(torch.zeros(4, 6)), torch.zeros(4, 6))


# A step ---------------------------------------------------------------------------------------------------------------


def slow_steps(weight: Matrix, gradients: Sequence[Matrix], lr: float, momentum: float, decay: float) -> Matrix:
    average = np.zeros_like(weight)
    for gradient in gradients:
        average = momentum * average + (1 - momentum) * gradient
        update = slow_orthogonal((1 - momentum) * gradient + momentum * average)
        weight = weight * (1 - lr * decay) - lr * 0.2 * max(weight.shape) ** 0.5 * update
    return weight


@pytest.mark.parametrize("shape", [(6, 6), (12, 3), (3, 12), (7, 1)])
@pytest.mark.parametrize(("lr", "momentum", "decay"), [(0.02, 0.95, 0.0), (0.5, 0.8, 0.1)])
def test_steps_are_those_of_a_slow_version(shape: tuple[int, int], lr: float, momentum: float, decay: float) -> None:
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(0, 1, shape), [rng.normal(0, 3, shape) for _ in range(4)]
    weight = nn.Parameter(torch.tensor(start))
    muon = Muon([weight], lr=lr, momentum=momentum, weight_decay=decay)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        muon.step()
    wanted = slow_steps(start, gradients, lr, momentum, decay)
    np.testing.assert_allclose(weight.detach().numpy(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 40), (80, 10), (10, 80)])
def test_a_step_is_as_large_whatever_the_shape(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape) * 1e-3
    Muon([weight], lr=1e-2).step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.2 * 1e-2, rel=0.25)


def test_what_has_no_gradient_stays() -> None:
    moved, still = (nn.Parameter(torch.eye(3)) for _ in range(2))
    muon = Muon([moved, still], weight_decay=0.1)
    moved.grad = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    muon.step()
    assert torch.equal(still, torch.eye(3))
    assert not torch.equal(moved, torch.eye(3))
    assert not muon.state[still]


# Which weights --------------------------------------------------------------------------------------------------------


def made(network: nn.Module, tuning: Tuning | None = None, **chosen: Any) -> list[Optimizer]:
    wanted = LoopSettings(**{"optimiser": "muon", "lr": 1e-3, "muon_lr": 0.03, "weight_decay": 0.1} | chosen)
    groups = parameter_groups(network, tuning or Tuning(), wanted.weight_decay)
    return make_optimisers(network, groups, wanted)


def names_in(optimiser: Optimizer, network: nn.Module) -> list[str]:
    names = {id(weight): name for name, weight in network.named_parameters()}
    return sorted(names[id(weight)] for group in optimiser.param_groups for weight in group["params"])


def in_blocks(*stacks: str) -> list[str]:
    attention = [f"{stack}.self_attn.{part}.weight" for stack in stacks for part in ATTENTION]
    return attention + [f"{stack}.ffn.{part}.weight" for stack in stacks for part in FEED_FORWARD]


def test_the_predictor_s_hidden_matrices_are_muon_s() -> None:
    network = tiny_network().requires_grad_(True)
    adamw, muon = made(network)
    assert (type(adamw), type(muon)) == (AdamW, Muon)
    dependency = [f"dep_layer.cross_attn.{part}.weight" for part in ATTENTION]
    assert names_in(muon, network) == sorted(in_blocks("transformer.0", "transformer.1") + dependency)
    rest = names_in(adamw, network)
    assert sorted(rest + names_in(muon, network)) == sorted(name for name, _ in network.named_parameters())
    assert {"head.proj_s1.weight", "embedding.fusion_proj.weight", "embedding.emb_s1.weight", "norm.weight"} < {*rest}
    assert {name for name in rest if name.startswith("transformer.0.")} == {
        "transformer.0.norm1.weight",
        "transformer.0.norm2.weight",
        *(f"transformer.0.self_attn.{part}.bias" for part in ATTENTION),
    }


def test_the_tokenizer_s_hidden_matrices_are_muon_s() -> None:
    tokenizer = tiny_tokenizer(layers=3).requires_grad_(True)
    adamw, muon = made(tokenizer)
    assert names_in(muon, tokenizer) == sorted(in_blocks("encoder.0", "encoder.1", "decoder.0", "decoder.1"))
    assert {"embed.weight", "quant_embed.weight", "post_quant_embed.weight", "head.weight"} < {
        *names_in(adamw, tokenizer)
    }


def test_a_network_inside_another_is_still_known_by_its_blocks() -> None:
    whole = nn.ModuleDict({"backbone": tiny_network(), "classes": nn.Linear(16, 3)}).requires_grad_(True)
    adamw, muon = made(whole)
    assert names_in(muon, whole)[-1] == "backbone.transformer.1.self_attn.v_proj.weight"
    assert len(names_in(muon, whole)) == 2 * 7 + 4
    assert "classes.weight" in names_in(adamw, whole)


def test_low_rank_changes_are_adamw_s() -> None:
    network, tuning = tiny_network(), Tuning(what="lora", rank=2)
    prepare(network, tuning, 0)
    (only,) = made(network, tuning)
    assert isinstance(only, AdamW)
    assert all(name.endswith((".down", ".up")) for name in names_in(only, network))


def test_adamw_takes_all_when_it_is_chosen() -> None:
    network = tiny_network().requires_grad_(True)
    (only,) = made(network, optimiser="adamw", betas=(0.8, 0.99))
    assert type(only) is AdamW
    assert names_in(only, network) == sorted(name for name, _ in network.named_parameters())
    assert {group["betas"] for group in only.param_groups} == {(0.8, 0.99)}


def test_muon_has_adamw_s_rate_unless_it_is_given_its_own() -> None:
    adamw, muon = made(tiny_network().requires_grad_(True), muon_lr=None)
    assert {group["peak"] for one in (adamw, muon) for group in one.param_groups} == {1e-3}


def test_rates_and_decays_follow_the_groups() -> None:
    network, tuning = tiny_network().requires_grad_(True), Tuning(layer_decay=0.5)
    adamw, muon = made(network, tuning)
    peaks = {
        id(weight): group["peak"] for one in (adamw, muon) for group in one.param_groups for weight in group["params"]
    }
    decays = {
        id(weight): group["weight_decay"]
        for one in (adamw, muon)
        for group in one.param_groups
        for weight in group["params"]
    }
    assert all(group["lr"] == group["peak"] for one in (adamw, muon) for group in one.param_groups)
    weight = dict(network.named_parameters())
    wanted = {
        "transformer.1.ffn.w1.weight": (0.03, 0.1),
        "transformer.0.ffn.w1.weight": (0.015, 0.1),
        "dep_layer.cross_attn.q_proj.weight": (0.03, 0.1),
        "transformer.0.norm1.weight": (0.0005, 0.0),
        "embedding.fusion_proj.weight": (0.00025, 0.1),
        "embedding.emb_s1.weight": (0.00025, 0.0),
        "head.proj_s1.weight": (0.001, 0.1),
        "head.proj_s1.bias": (0.001, 0.0),
    }
    found = {name: (peaks[id(weight[name])], decays[id(weight[name])]) for name in wanted}
    assert found == {name: pytest.approx(pair) for name, pair in wanted.items()}


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_states_that_went_through_a_file_go_on_to_the_bit(optimiser: str) -> None:
    tokens = torch.randint(0, 32, (2, 3, 7), generator=torch.Generator().manual_seed(0))

    def step(network: Any, optimisers: Sequence[Optimizer]) -> None:
        s1, s2 = network(tokens[0], tokens[1], use_teacher_forcing=True, s1_targets=tokens[0])
        loss: Tensor = s1.square().mean() + s2.logsumexp(-1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        for one in optimisers:
            one.step()
            one.zero_grad()

    whole = tiny_network(n_layers=1).requires_grad_(True)
    theirs = made(whole, optimiser=optimiser)
    for _ in range(2):
        step(whole, theirs)
    file = io.BytesIO()
    torch.save({"network": whole.state_dict(), "optimisers": [one.state_dict() for one in theirs]}, file)
    for _ in range(2):
        step(whole, theirs)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = tiny_network(7, n_layers=1).requires_grad_(True)
    ours = made(again, optimiser=optimiser)
    again.load_state_dict(saved["network"])
    for one, state in zip(ours, saved["optimisers"], strict=True):
        one.load_state_dict(state)
    for _ in range(2):
        step(again, ours)
    wanted = whole.state_dict()
    assert all(torch.equal(weight, wanted[name]) for name, weight in again.state_dict().items())
