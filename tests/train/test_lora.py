"""Adapters: nothing changes until they learn, nothing but them learns, and folded away they leave the same function."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from kronos.errors import CheckpointError, ConfigError
from kronos.forecast import Engine, Prompt, Sampler
from kronos.model import FoldedKronos, Kronos, KronosTokenizer, version_of
from kronos.model.layers import Blocks
from kronos.train.lora import Adapted, adapt, is_adapted, linears
from kronos.train.tuning import Tuning, merged, parameter_groups, prepare
from reference import TRAINED, backend_of, random_stamps, slow_bars, slow_tokens, tiny_network, tiny_tokenizer

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
GATES = ("w1", "w2", "w3")
LORA = Tuning(what="lora", rank=3, alpha=6.0)


def moved(network: Any, tuning: Tuning = LORA, seed: int = 0) -> Any:
    """An adapted network whose adapters have learnt something."""
    prepare(network, tuning, seed)
    random = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Adapted):
                module.up.normal_(0, 0.3, generator=random)
    return network.eval()


def batch(seed: int = 0, series: int = 3, length: int = 9, bits: tuple[int, int] = (5, 5)) -> tuple[Tensor, ...]:
    """Tokens s1, s2 and stamps."""
    rng = np.random.default_rng(seed)
    s1, s2 = (torch.from_numpy(rng.integers(0, 2**b, (series, length))) for b in bits)
    return s1, s2, random_stamps(rng, series, length)


def loss_of(network: nn.Module, seed: int = 0) -> Tensor:
    """A training loss of either network on seeded inputs; of what may be wrapped round one, too."""
    if isinstance(getattr(network, "module", network), KronosTokenizer):
        (coarse, full), quantiser, _, _ = network(bars(seed))
        loss: Tensor = F.mse_loss(coarse, bars(seed)) + F.mse_loss(full, bars(seed)) + quantiser
        return loss
    s1, s2, stamps = batch(seed)
    logits = network(s1[:, :-1], s2[:, :-1], stamps[:, 1:], use_teacher_forcing=True, s1_targets=s1[:, 1:])
    return sum(
        (
            F.cross_entropy(one.float().flatten(0, 1), s[:, 1:].flatten())
            for one, s in zip(logits, (s1, s2), strict=True)
        ),
        torch.zeros(()),
    )


def bars(seed: int = 0, series: int = 3, length: int = 9) -> Tensor:
    return torch.randn(series, length, 6, generator=torch.Generator().manual_seed(seed))


def learn(network: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    network.train()
    for step in steps:
        torch.manual_seed(step)
        loss = loss_of(network, seed=step % 2)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return losses


def optimiser_of(network: nn.Module, tuning: Tuning = LORA) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(network, tuning, 0.1), lr=1e-2)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# One layer ------------------------------------------------------------------------------------------------------------


@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    rank=st.integers(1, 7),
    alpha=st.floats(0.1, 50),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=50)
def test_a_layer_computes_what_its_definition_says(
    sizes: tuple[int, int], rank: int, alpha: float, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer, x = nn.Linear(*sizes, bias=bias), torch.randn(2, 5, sizes[0])
    adapted = Adapted(layer, rank, alpha)
    assert torch.equal(adapted(x), layer(x))
    assert (adapted.in_features, adapted.out_features) == sizes
    nn.init.normal_(adapted.up)
    w, up, down = (one.detach().double().numpy() for one in (layer.weight, adapted.up, adapted.down))
    effective = w + alpha / rank * up @ down
    wanted = x.double().numpy() @ effective.T + (layer.bias.detach().double().numpy() if bias else 0.0)
    np.testing.assert_allclose(adapted.weight.detach(), effective, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(adapted(x).detach(), wanted, rtol=1e-4, atol=1e-3)
    assert adapted.bias is layer.bias


def test_dropout_is_of_the_change_alone() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 8), torch.randn(4, 8)
    adapted = Adapted(layer, 2, 4.0, dropout=0.5)
    assert torch.equal(adapted.train()(x), layer(x))  # no change, nothing drops out
    nn.init.normal_(adapted.up)
    torch.manual_seed(1)
    given_ = adapted(x)
    torch.manual_seed(1)
    thinned = F.dropout(x, 0.5)
    torch.testing.assert_close(given_, layer(x) + 2.0 * thinned @ adapted.down.T @ adapted.up.T)
    torch.testing.assert_close(adapted.eval()(x), F.linear(x, adapted.weight, layer.bias))


def test_the_weight_in_effect_is_not_rounded_under_autocast() -> None:
    adapted = Adapted(nn.Linear(8, 8), 2, 4.0)
    nn.init.normal_(adapted.up)
    wanted = adapted.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert adapted(torch.randn(4, 8)).dtype == torch.bfloat16
        assert torch.equal(adapted.weight, wanted)


# Where they go --------------------------------------------------------------------------------------------------------


def test_the_layers_that_can_be_adapted() -> None:
    blocks = [f"transformer.{n}" for n in range(2)]
    attention = [f"{b}.self_attn.{p}" for b in blocks for p in ATTENTION] + [
        f"dep_layer.cross_attn.{p}" for p in ATTENTION
    ]
    ffn = [f"{b}.ffn.{p}" for b in blocks for p in GATES]
    network, tokenizer = tiny_network(), tiny_tokenizer()
    assert sorted(linears(network, "attention")) == sorted(attention)
    assert sorted(linears(network, "ffn")) == sorted(ffn)
    assert sorted(linears(network, "all")) == sorted(attention + ffn)
    assert sorted(linears(tokenizer, "all")) == sorted(
        [f"{s}.0.self_attn.{p}" for s in ("encoder", "decoder") for p in ATTENTION]
        + [f"{s}.0.ffn.{p}" for s in ("encoder", "decoder") for p in GATES]
    )


def test_a_rank_beyond_the_matrix_is_refused_and_changes_nothing() -> None:
    network = tiny_network()
    keys, wanted = list(network.state_dict()), {n: p.requires_grad for n, p in network.named_parameters()}
    with pytest.raises(ConfigError, match=r"tuning\.rank 17 is larger than .*\.ffn\.w., a matrix of \d+ x \d+"):
        prepare(network, Tuning(what="lora", targets="ffn", rank=17), 0)
    assert list(network.state_dict()) == keys
    assert {n: p.requires_grad for n, p in network.named_parameters()} == wanted
    prepare(network, Tuning(what="lora", targets="ffn", rank=16), 0)
    assert is_adapted(network)


def test_the_state_dict_has_the_layers_own_weights_under_base() -> None:
    network = tiny_network()
    before = network.state_dict()
    prepare(network, Tuning(what="lora", targets="attention"), 0)
    after = network.state_dict()
    layer = "transformer.1.self_attn.v_proj"
    assert {key for key in after if key.startswith(f"{layer}.")} == {
        f"{layer}.base.weight",
        f"{layer}.base.bias",
        f"{layer}.down",
        f"{layer}.up",
    }
    own = {key.replace(".base.", "."): tensor for key, tensor in after.items() if not key.endswith((".down", ".up"))}
    assert same(own, dict(before))


def test_adapters_are_a_function_of_the_seed() -> None:
    def drawn(seed: int, noise: int) -> dict[str, Tensor]:
        network = tiny_network()
        torch.manual_seed(noise)
        before = torch.random.get_rng_state()
        prepare(network, LORA, seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        return dict(network.state_dict())

    assert same(drawn(5, 1), drawn(5, 2))
    one, other = drawn(5, 1), drawn(6, 1)
    downs = [key for key in one if key.endswith(".down")]
    assert len(downs) == 18
    assert all(not torch.equal(one[key], other[key]) for key in downs)
    assert not torch.equal(one[downs[0]], one[downs[1]])
    assert all(0 < one[key].abs().max() <= one[key].shape[1] ** -0.5 for key in downs)


@pytest.mark.parametrize("targets", ["attention", "ffn", "all"])
def test_an_adapted_network_begins_as_the_network_it_was(targets: Any) -> None:
    network, tokenizer, tuning = tiny_network(), tiny_tokenizer(), Tuning(what="lora", targets=targets)
    s1, s2, stamps = batch()
    wanted = [*network(s1, s2, stamps, None, True, s1), *tokenizer(bars())[0]]
    prepare(network, tuning, 0)
    prepare(tokenizer, tuning, 0)
    given_ = [*network(s1, s2, stamps, None, True, s1), *tokenizer(bars())[0]]
    assert all(torch.equal(a, b) for a, b in zip(given_, wanted, strict=True))


# Folded away ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("own", [{}, TRAINED, {"learn_te": False}], ids=["published", "trained", "fixed"])
@pytest.mark.parametrize("targets", ["attention", "ffn", "all"])
def test_the_merged_predictor_is_the_same_function(own: dict[str, Any], targets: Any) -> None:
    plain, network = tiny_network(**own), tiny_network(**own)
    moved(network, Tuning(what="lora", targets=targets, rank=3))
    flat, (s1, s2, stamps) = merged(network), batch()
    assert type(flat) is Kronos
    padding = torch.zeros_like(s1, dtype=torch.bool)
    padding[1, :4] = True
    for mask in (None, padding):
        logits, context = network.decode_s1(s1, s2, stamps, mask)
        pairs = [
            ((logits, context), flat.decode_s1(s1, s2, stamps, mask)),
            (network(s1, s2, stamps, mask, True, s2), flat(s1, s2, stamps, mask, True, s2)),
            ((network.decode_s2(context, s1[:, -1:], mask),), (flat.decode_s2(context, s1[:, -1:], mask),)),
            ((network.decode_s2(context, s1, mask),), (flat.decode_s2(context, s1, mask),)),
        ]
        for given_, wanted in pairs:
            for a, b in zip(given_, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert (plain.decode_s1(s1, s2, stamps)[0] - flat.decode_s1(s1, s2, stamps)[0]).abs().max() > 0.1


@torch.no_grad()
def test_the_merged_tokenizer_is_the_same_function() -> None:
    plain, tokenizer = tiny_tokenizer(), moved(tiny_tokenizer())
    flat, x = merged(tokenizer), bars(series=8, length=20)
    assert type(flat) is KronosTokenizer
    pair = tokenizer.encode(x, half=True)
    assert all(torch.equal(a, b) for a, b in zip(pair, flat.encode(x, half=True), strict=True))
    assert not torch.equal(pair[0], plain.encode(x, half=True)[0])  # its encoder is adapted too
    torch.testing.assert_close(tokenizer.decode(pair, half=True), flat.decode(pair, half=True), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokenizer(x), flat(x), rtol=1e-4, atol=1e-4)
    assert (tokenizer.decode(pair, half=True) - plain.decode(pair, half=True)).abs().max() > 0.1


@pytest.mark.parametrize("own", [{}, TRAINED], ids=["published", "trained"])
@pytest.mark.parametrize("fold", [merged, lambda network: network], ids=["merged", "adapted"])
def test_the_engine_writes_what_the_adapted_network_would(own: dict[str, Any], fold: Any) -> None:
    """Also handed an adapted network itself: whoever reads its weights reads those in effect."""
    network, tokenizer = moved(tiny_network(**own)), moved(tiny_tokenizer())
    rng = np.random.default_rng(4)
    s1, s2 = (torch.from_numpy(rng.integers(0, 32, (1, 8))) for _ in range(2))
    stamps = random_stamps(rng, 1, 14)
    engine = Engine(network, backend_of("torch", fold(network), fold(tokenizer)), 16, Sampler(top_k=1), seed=3)
    prompt = Prompt(s1[0], s2[0], stamps[0], 7)
    ((new1, new2),), (written,) = engine.generate([prompt], range(2)), engine.run([prompt], 2)
    slow1, slow2 = slow_tokens(network, s1, s2, stamps, [7], 2, 16, 3, top_k=1)
    assert torch.equal(new1, slow1[0])
    assert torch.equal(new2, slow2[0])
    torch.testing.assert_close(written, slow_bars(tokenizer, s1, s2, slow1, slow2, 16)[0], rtol=1e-4, atol=1e-4)


def test_a_folded_network_is_told_that_its_adapters_moved() -> None:
    network = moved(tiny_network())
    before, table = version_of(network), FoldedKronos(network).query_table
    with torch.no_grad():
        network.dep_layer.cross_attn.q_proj.up.mul_(2)
    assert version_of(network) != before
    assert not torch.equal(FoldedKronos(network).query_table, table)


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
def test_merging_leaves_the_original_alone_and_may_be_done_twice(make: Any) -> None:
    network = moved(make()).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    once = merged(network)
    assert same(dict(network.state_dict()), before)
    assert network.training
    assert not once.training
    assert is_adapted(network)
    assert not is_adapted(once)
    assert list(once.state_dict()) == list(make().state_dict())
    assert same(dict(once.state_dict()), dict(merged(once).state_dict()))
    with torch.no_grad():
        next(once.parameters()).add_(1)
    assert same(dict(network.state_dict()), before)


@pytest.mark.parametrize(
    ("make", "own"),
    [
        (tiny_network, TRAINED | {"max_context": 48, "cutoff": "2024-01-01", "learn_te": False}),
        (tiny_tokenizer, {"normaliser": "returns"}),
    ],
    ids=["predictor", "tokenizer"],
)
def test_merged_weights_travel_and_adapted_ones_do_not(make: Any, own: dict[str, Any], tmp_path: Path) -> None:
    network = moved(make(**own))
    flat = merged(network)
    flat.save_pretrained(tmp_path / "merged")
    loaded = type(flat).from_pretrained(tmp_path / "merged")
    assert same(dict(loaded.state_dict()), dict(flat.state_dict()))
    assert loaded.fingerprint() == flat.fingerprint() != make(**own).fingerprint()
    assert flat.config == network.config == loaded.config
    assert {key: getattr(flat, key) for key in own if key != "learn_te"} == {
        key: value for key, value in own.items() if key != "learn_te"
    }
    network.save_pretrained(tmp_path / "adapted")  # somebody forgot
    with pytest.raises(CheckpointError, match=r"does not fit its config\.json"):
        type(flat).from_pretrained(tmp_path / "adapted")


# Learning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
@pytest.mark.parametrize("targets", ["attention", "ffn", "all"])
def test_only_the_adapters_learn(make: Any, targets: Any) -> None:
    network, tuning = make(), Tuning(what="lora", targets=targets, rank=4)
    prepare(network, tuning, 0)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    losses = learn(network, optimiser_of(network, tuning), range(30))
    assert losses[-1] < losses[1]
    for name, weight in network.named_parameters():
        adapter = name.endswith((".down", ".up"))
        assert (weight.grad is not None) == adapter == weight.requires_grad, name
        assert torch.equal(weight, before[name]) != adapter, name
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.named_buffers())


def test_the_first_gradient_is_the_full_one_projected() -> None:
    """Of `up`, while it is zero: alpha / rank * dL/dW down^T, with dL/dW from the network without adapters."""
    plain, network = tiny_network().requires_grad_(True), tiny_network()
    prepare(network, LORA, 0)
    loss_of(plain).backward()
    loss_of(network).backward()
    for name, module in network.named_modules():
        if isinstance(module, Adapted):
            full = plain.get_submodule(name).weight.grad
            assert isinstance(full, Tensor)
            torch.testing.assert_close(module.up.grad, 2.0 * full @ module.down.T, rtol=1e-4, atol=1e-6)
            assert module.down.grad is not None
            assert not module.down.grad.any()


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
def test_a_stopped_run_resumes_to_the_bit(make: Any, tmp_path: Path) -> None:
    tuning = LORA.model_copy(update={"lora_dropout": 0.2})

    def begun() -> tuple[Any, torch.optim.Optimizer]:
        network = make()
        prepare(network, tuning, 3)
        return network, optimiser_of(network, tuning)

    whole, optimiser = begun()
    learn(whole, optimiser, range(6))
    stopped, optimiser = begun()
    learn(stopped, optimiser, range(4))
    torch.save({"network": stopped.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "run.pt")

    again = make(seed=8)  # what lay in the network before must not matter
    prepare(again, tuning, 4)
    optimiser = optimiser_of(again, tuning)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    again.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    learn(again, optimiser, range(4, 6))
    assert same(dict(again.state_dict()), dict(whole.state_dict()))
    assert merged(again).fingerprint() == merged(whole).fingerprint()


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
def test_checkpointed_activations_give_the_same_gradients(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = moved(make(), LORA.model_copy(update={"lora_dropout": 0.3})).train()

    def gradients() -> list[Tensor]:
        network.zero_grad()
        torch.manual_seed(1)
        loss_of(network).backward()
        return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]

    wanted = gradients()
    calls = []

    def run(blocks: Blocks, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        rotation = blocks[0].self_attn.rotary.at(0, x.shape[1])
        for block in blocks:
            calls.append(block)
            x = checkpoint(block, x, rotation, padding_mask, use_reentrant=False)
        return x

    monkeypatch.setattr(Blocks, "run", run)
    given_ = gradients()
    assert calls
    assert len(given_) == len(wanted) > 0
    for a, b in zip(given_, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
def test_adapters_learn_in_bfloat16(make: Any) -> None:
    network = moved(make())
    loss_of(network).backward()
    wanted = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(network)
    loss.backward()
    for name, exact in wanted.items():
        gradient = network.get_parameter(name).grad
        assert gradient is not None
        assert gradient.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), exact.flatten(), dim=0) > 0.9, name


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of one, which still insists that every weight it was told of gets a gradient."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
@pytest.mark.parametrize("what", ["lora", "last", "all"])
def test_chosen_weights_learn_in_a_process_group(make: Any, what: Any, alone: None) -> None:
    tuning = Tuning(what=what, rank=2, layers=1)
    network = make()
    prepare(network, tuning, 0)
    lonely = copy.deepcopy(network)
    learn(DistributedDataParallel(network), optimiser_of(network, tuning), range(3))
    learn(lonely, optimiser_of(lonely, tuning), range(3))
    for key, tensor in lonely.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], tensor)


def test_adapters_by_hand() -> None:
    """`adapt` on layers somebody chose, in the order given; the rest stays plain."""
    network = tiny_network()
    name = "dep_layer.cross_attn.k_proj"
    adapt(network, {name: linears(network, "attention")[name]}, rank=2, alpha=2.0, dropout=0.0, seed=0)
    assert [key for key, module in network.named_modules() if isinstance(module, Adapted)] == [name]
