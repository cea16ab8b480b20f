"""What is trained and how fast: told weight by weight for small networks, and for any size by its law."""

import math
from collections.abc import Collection
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kronos.errors import ConfigError
from kronos.train.tuning import Tuning, describe, merged, parameter_groups, prepare
from reference import tiny_network, tiny_tokenizer

TABLES = {f"time_emb.{field}_embed" for field in ("minute", "hour", "weekday", "day", "month")}
BEHIND = {"norm", "dep_layer", "head"}


def trained(network: nn.Module, tuning: Tuning) -> set[str]:
    prepare(network, tuning, 0)
    return {name for name, weight in network.named_parameters() if weight.requires_grad}


def below(network: nn.Module, parts: Collection[str]) -> set[str]:
    """Names of all weights under these modules."""
    return {name for name, _ in network.named_parameters() if name.startswith(tuple(f"{part}." for part in parts))}


def names(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters()}


def scales(network: nn.Module, tuning: Tuning) -> dict[str, float]:
    prepare(network, tuning, 0)
    groups = parameter_groups(network, tuning, 0.1)
    return {name: group["scale"] for group in groups for name in group["names"]}


class Classifier(nn.Module):
    """Something built round a network."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = tiny_network(n_layers=3)
        self.classes = nn.Linear(16, 3)


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "complaint"),
    [
        ({"what": "some"}, "what"),
        ({"layers": -1}, "layers"),
        ({"rank": 0}, "rank"),
        ({"rank": 1.5}, "rank"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": math.inf}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"targets": "heads"}, "targets"),
        ({"lora_dropout": 1.0}, "lora_dropout"),
        ({"lora_dropout": -0.1}, "lora_dropout"),
        ({"layer_decay": 0}, "layer_decay"),
        ({"layer_decay": 1.01}, "layer_decay"),
        ({"layer_decay": math.nan}, "layer_decay"),
        ({"freeze": "head"}, "freeze"),
        ({"layer_deacy": 0.9}, "did you mean 'layer_decay'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tree: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Tuning.of(tree)


def test_settings_are_read_like_any_others() -> None:
    read = Tuning.read(overrides=["what=lora", "rank=4", "freeze=[encoder, embed]", "layer_decay=0.5"])
    assert read == Tuning(what="lora", rank=4, freeze=("encoder", "embed"), layer_decay=0.5)
    assert Tuning.of(read.tree()) == read


# What -----------------------------------------------------------------------------------------------------------------


def test_all_is_all_but_the_sinusoids() -> None:
    for network in (tiny_network(), tiny_tokenizer(), nn.Sequential(nn.Linear(2, 2), nn.Embedding(2, 2))):
        assert trained(network, Tuning()) == names(network)
    fixed = tiny_network(learn_te=False)
    assert trained(fixed, Tuning()) == names(fixed) - {f"{table}.emb.weight" for table in TABLES}


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4, 99])
def test_the_last_blocks_of_a_predictor_and_what_is_behind_them(layers: int) -> None:
    network = tiny_network(n_layers=3)
    wanted = BEHIND | {f"transformer.{n}" for n in range(3) if n >= 3 - layers}
    assert trained(network, Tuning(what="last", layers=layers)) == below(network, wanted)


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 99])
def test_the_last_blocks_of_a_tokenizer_are_its_decoders(layers: int) -> None:
    tokenizer = tiny_tokenizer(layers=3)  # of which the published count makes two blocks each
    wanted = {"head"} | {f"decoder.{n}" for n in range(2) if n >= 2 - layers}
    assert trained(tokenizer, Tuning(what="last", layers=layers)) == below(tokenizer, wanted)
    bare = tiny_tokenizer(layers=1)
    assert trained(bare, Tuning(what="last", layers=layers)) == {"head.weight", "head.bias"}


def test_what_is_built_round_a_network() -> None:
    model = Classifier()
    assert trained(model, Tuning(what="last", layers=1)) == below(
        model, {"classes", "backbone.transformer.2", *(f"backbone.{part}" for part in BEHIND)}
    )
    assert trained(model, Tuning(what="none", also=("classes",))) == {"classes.weight", "classes.bias"}
    model = Classifier()
    given_ = trained(model, Tuning(what="lora", rank=2, also=("classes",)))
    assert {name for name in given_ if not name.endswith((".up", ".down"))} == {"classes.weight", "classes.bias"}
    assert len(given_) == 2 + 2 * (3 * 7 + 4)
    assert {name: weight.shape for name, weight in merged(model).named_parameters()} == {
        name: weight.shape for name, weight in Classifier().named_parameters()
    }


@pytest.mark.parametrize("what", ["last", "lora"])
def test_a_network_without_blocks_cannot_be_counted(what: Any) -> None:
    with pytest.raises(ConfigError, match=f"tuning.what is {what}, but this Sequential has no blocks"):
        prepare(nn.Sequential(nn.Linear(2, 2)), Tuning(what=what), 0)


@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
def test_none_is_an_error_where_there_is_nothing_to_do(make: Any) -> None:
    network, tuning = make(), Tuning(what="none")
    assert trained(network, tuning) == set()
    with pytest.raises(ConfigError, match=r"no weight of this Kronos\w* would be trained \(tuning.what is none\)"):
        parameter_groups(network, tuning, 0.1)
    every = Tuning(freeze=("*",))
    prepare(network, every, 0)
    with pytest.raises(ConfigError, match=r"tuning.what is all, tuning.freeze names \*"):
        parameter_groups(network, every, 0.1)


def test_names_are_added_and_taken_away() -> None:
    network = tiny_network()
    assert trained(network, Tuning(freeze=("time_emb", "embedding"))) == below(network, BEHIND | {"transformer"})
    network = tiny_network()
    tuning = Tuning(what="last", layers=1, also=("*.bias", "embedding.emb_s1"), freeze=("head", "transformer.0"))
    biases = {name for name in names(network) if name.endswith(".bias")}
    wanted = (
        below(network, {"norm", "dep_layer", "transformer.1"}) | {"norm.weight", "embedding.emb_s1.weight"} | biases
    )
    assert trained(network, tuning) == wanted - below(network, {"head", "transformer.0"})


def test_adapters_keep_out_of_what_is_frozen_or_trained_in_full() -> None:
    tokenizer = tiny_tokenizer()
    given_ = trained(
        tokenizer, Tuning(what="lora", rank=2, freeze=("encoder",), also=("head", "*.w1", "*.q_proj.bias"))
    )
    decoder = {f"decoder.0.self_attn.{p}_proj" for p in ("q", "k", "v", "out")} | {
        "decoder.0.ffn.w2",
        "decoder.0.ffn.w3",
    }
    wanted = {f"{layer}.{part}" for layer in decoder for part in ("down", "up")}
    wanted |= {"head.weight", "head.bias", "decoder.0.ffn.w1.weight", "decoder.0.self_attn.q_proj.base.bias"}
    assert given_ == wanted


def test_names_that_mean_nothing_are_errors() -> None:
    for tuning, complaint in (
        (Tuning(freeze=("transfomer",)), "tuning.freeze: 'transfomer' .*Kronos, did you mean 'transformer'"),
        (Tuning(also=("zzz",)), "tuning.also: 'zzz' .*its parts are dep_layer, embedding, head, norm, time_emb, tr"),
        (Tuning(what="lora", freeze=("head", "encoder.0")), "'encoder.0'"),
    ):
        network = tiny_network()
        with pytest.raises(ConfigError, match=complaint):
            prepare(network, tuning, 0)
        assert names(network) == names(tiny_network())
        assert not any(weight.requires_grad for weight in network.parameters())
    fixed = tiny_network(learn_te=False)
    with pytest.raises(ConfigError, match=r"'time_emb' names no weight to train"):
        prepare(fixed, Tuning(what="none", also=("time_emb",)), 0)
    assert not below(fixed, {"time_emb"}) & trained(fixed, Tuning(freeze=("time_emb",)))


def test_a_network_is_prepared_once() -> None:
    network = tiny_network()
    prepare(network, Tuning(what="last"), 0)
    prepare(network, Tuning(what="lora"), 0)  # choices are free until there are adapters
    assert all(name.endswith((".up", ".down")) for name in names(network) if network.get_parameter(name).requires_grad)
    with pytest.raises(ConfigError, match="has adapters already"):
        prepare(network, Tuning(), 0)
    assert trained(merged(network), Tuning(what="last")) == below(tiny_network(), BEHIND | {"transformer"}) | {
        "norm.weight"
    }


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("what", ["all", "last", "lora", "none"])
def test_a_merged_network_is_as_free_as_a_new_one(what: Any, learned: bool) -> None:
    network = tiny_network(learn_te=learned)
    prepare(network, Tuning(what=what), 0)
    new = type(network)(**network.config)
    assert {name: weight.requires_grad for name, weight in merged(network).named_parameters()} == {
        name: weight.requires_grad for name, weight in new.named_parameters()
    }


def test_the_last_layers_of_a_tokenizer_leave_tokens_alone() -> None:
    tokenizer = tiny_tokenizer()
    x = torch.randn(4, 12, 6, generator=torch.Generator().manual_seed(0))
    tokens = tokenizer.encode(x)
    before = tokenizer.decode(tokens)
    tuning = Tuning(what="last")
    prepare(tokenizer, tuning, 0)
    optimiser = torch.optim.AdamW(parameter_groups(tokenizer, tuning, 0.1), lr=1e-2)
    for _ in range(30):
        loss: Tensor = tokenizer.loss(x)[0]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert torch.equal(tokenizer.encode(x), tokens)
    assert F.mse_loss(tokenizer.decode(tokens), x) < 0.8 * F.mse_loss(before, x)


def test_the_report() -> None:
    network = nn.Sequential(nn.Linear(100, 20), nn.Linear(20, 1000))
    prepare(network, Tuning(freeze=("0",)), 0)
    assert describe(network) == "trains 21,000 of 23,020 weights"
    adapted = tiny_network()
    total = sum(weight.numel() for weight in adapted.parameters())
    prepare(adapted, Tuning(what="lora", rank=2, targets="ffn"), 0)
    more = 2 * 3 * 2 * (16 + 24)
    assert describe(adapted) == f"trains {more:,} of {total + more:,} weights"


# How fast -------------------------------------------------------------------------------------------------------------


def test_matrices_decay_and_nothing_else_does() -> None:
    network = tiny_network()
    prepare(network, Tuning(), 0)
    decays = {n: g["weight_decay"] for g in parameter_groups(network, Tuning(), 0.3) for n in g["names"]}
    matrices = {
        f"transformer.{n}.{layer}.weight"
        for n in range(2)
        for layer in (*(f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")), "ffn.w1", "ffn.w2", "ffn.w3")
    }
    matrices |= {f"dep_layer.cross_attn.{p}_proj.weight" for p in ("q", "k", "v", "out")}
    matrices |= {"embedding.fusion_proj.weight", "head.proj_s1.weight", "head.proj_s2.weight"}
    assert decays == {name: 0.3 if name in matrices else 0.0 for name in names(network)}
    assert len(parameter_groups(network, Tuning(), 0.3)) == 2


@pytest.mark.parametrize(
    "tuning",
    [Tuning(layer_decay=0.7), Tuning(what="last", layers=1), Tuning(what="lora", rank=2, layer_decay=0.5)],
    ids=["all", "last", "lora"],
)
@pytest.mark.parametrize("make", [tiny_network, tiny_tokenizer], ids=["predictor", "tokenizer"])
def test_every_trained_weight_is_in_one_group_in_a_fixed_order(make: Any, tuning: Tuning) -> None:
    def grouped() -> list[dict[str, Any]]:
        network = make()
        prepare(network, tuning, 0)
        groups = parameter_groups(network, tuning, 0.1)
        for group in groups:
            assert group.keys() == {"params", "names", "weight_decay", "scale"}
            assert all(w is network.get_parameter(n) for w, n in zip(group["params"], group["names"], strict=True))
        found = [name for group in groups for name in group["names"]]
        assert len(found) == len(set(found))
        assert set(found) == {name for name, weight in network.named_parameters() if weight.requires_grad}
        torch.optim.AdamW(groups, lr=1e-3)
        return [{key: value for key, value in group.items() if key != "params"} for group in groups]

    assert grouped() == grouped()


def test_layer_decay_of_a_predictor_of_three_blocks() -> None:
    given_ = scales(tiny_network(n_layers=3), Tuning(layer_decay=0.5))
    rates = {
        "embedding": 0.125,
        "time_emb": 0.125,
        "transformer.0": 0.25,
        "transformer.1": 0.5,
        "transformer.2": 1.0,
        "norm": 1.0,
        "dep_layer": 1.0,
        "head": 1.0,
    }
    assert given_.keys() == names(tiny_network(n_layers=3))
    assert given_ == {name: next(r for part, r in rates.items() if name.startswith(f"{part}.")) for name in given_}


def test_layer_decay_of_a_tokenizer_of_two_stacks() -> None:
    given_ = scales(tiny_tokenizer(layers=3), Tuning(layer_decay=0.5))
    rates = {
        "embed": 0.0625,
        "encoder.0": 0.125,
        "encoder.1": 0.25,
        "quant_embed": 0.25,
        "post_quant_embed_pre": 0.25,
        "post_quant_embed": 0.25,
        "decoder.0": 0.5,
        "decoder.1": 1.0,
        "head": 1.0,
    }
    assert given_.keys() == names(tiny_tokenizer(layers=3))
    assert given_ == {name: next(r for part, r in rates.items() if name.startswith(f"{part}.")) for name in given_}


@given(
    blocks=st.integers(1, 4),
    decay=st.floats(0.05, 1.0),
    what=st.sampled_from(["all", "last", "lora"]),
    layers=st.integers(0, 5),
)
@settings(max_examples=25)
def test_the_law_of_layer_decay(blocks: int, decay: float, what: Any, layers: int) -> None:
    """A block has its rate times that of the one above, however many there are and whatever else is chosen."""
    tuning = Tuning(what=what, layers=layers, layer_decay=decay, rank=1, also=("norm", "transformer.*.norm1"))
    given_ = scales(tiny_network(n_layers=blocks), tuning)
    rates: dict[int, set[float]] = {}
    for name, rate in given_.items():
        if name.startswith("transformer."):
            rates.setdefault(int(name.split(".")[1]), set()).add(rate)
        elif not name.startswith(("embedding.", "time_emb.")):
            assert rate == 1.0, name
    assert sorted(rates) == list(range(blocks))
    for block, found in rates.items():
        assert len(found) == 1  # norms, biases and matrices alike
        assert found.pop() == pytest.approx(decay ** (blocks - 1 - block))
    if what == "all":
        assert given_["embedding.emb_s1.weight"] == pytest.approx(decay**blocks)


def test_the_rate_a_weight_moves_by() -> None:
    """What the loop does with a scale: Adam's first step is the learning rate, whatever the gradient."""
    network, tuning = tiny_network(n_layers=3), Tuning(layer_decay=0.5)
    prepare(network, tuning, 0)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    groups = parameter_groups(network, tuning, 0.0)
    optimiser = torch.optim.AdamW([group | {"lr": 1e-3 * group["scale"]} for group in groups])
    torch.manual_seed(0)
    s1, s2, stamps = torch.randint(0, 32, (2, 6)), torch.randint(0, 32, (2, 6)), torch.ones(2, 6, 5)
    sum(logits.square().sum() for logits in network(s1, s2, stamps, None, True, s1)).backward()
    optimiser.step()
    for block, step in enumerate((2.5e-4, 5e-4, 1e-3)):
        name = f"transformer.{block}.ffn.w2.weight"
        moved = (network.get_parameter(name).detach() - before[name]).abs().max()
        assert moved.item() == pytest.approx(step, rel=1e-3)
