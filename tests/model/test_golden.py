"""The network gives the published implementation's numbers, and its files are the published files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import Golden
from kronos.model import ZOO, Kronos, KronosTokenizer
from reference import banded_context, banded_fine

PUBLISHED = [entry for entry in ZOO.values() if entry.network_config]


def test_encoding_and_decoding(golden: Golden) -> None:
    tokenizer, x = golden.tokenizer, golden.tensor("x")
    s1, s2 = tokenizer.encode(x, half=True)
    full = tokenizer.encode(x)
    golden.compare("s1", s1)
    golden.compare("s2", s2)
    golden.compare("full", full)
    golden.compare("decoded", tokenizer.decode([s1, s2], half=True))
    golden.compare("decoded", tokenizer.decode(full))


def test_tokenizer_forward(golden: Golden) -> None:
    (coarse, full), loss, code, tokens = golden.tokenizer(golden.tensor("x"))
    golden.compare("z_pre", coarse)
    golden.compare("z", full)
    golden.compare("bsq_loss", loss)
    golden.compare("quantized", code)
    golden.compare("full", tokens)


def test_tokenizer_loss_and_gradients(golden: Golden) -> None:
    parts = golden.tokenizer.loss(golden.tensor("x"))
    golden.compare("tok_train_loss", torch.stack(parts))
    names = [name.removeprefix("tok_grad.") for name in golden.arrays if name.startswith("tok_grad.")]
    assert names
    weights = [golden.tokenizer.get_parameter(name) for name in names]
    for name, gradient in zip(names, torch.autograd.grad(parts[0], weights), strict=True):
        golden.compare(f"tok_grad.{name}", gradient)


def _train_logits(golden: Golden) -> tuple[torch.Tensor, torch.Tensor]:
    s1, s2, stamp = (golden.tensor(name) for name in ("s1", "s2", "stamp"))
    logits: tuple[torch.Tensor, torch.Tensor] = golden.network(
        s1[:, :-1], s2[:, :-1], stamp[:, :-1], use_teacher_forcing=True, s1_targets=s1[:, 1:]
    )
    return logits


def test_training_logits_loss_and_gradients(golden: Golden) -> None:
    s1, s2 = golden.tensor("s1"), golden.tensor("s2")
    s1_logits, s2_logits = _train_logits(golden)
    golden.compare("train_s1_logits", s1_logits[:, ::6])
    golden.compare("train_s2_logits", s2_logits[:, ::6])
    loss = golden.network.head.compute_loss(s1_logits, s2_logits, s1[:, 1:], s2[:, 1:])
    golden.compare("train_loss", torch.stack(loss))
    names = [name.removeprefix("net_grad.") for name in golden.arrays if name.startswith("net_grad.")]
    assert names
    weights = [golden.network.get_parameter(name) for name in names]
    for name, gradient in zip(names, torch.autograd.grad(loss.loss, weights), strict=True):
        golden.compare(f"net_grad.{name}", gradient)


def test_masked_loss(golden: Golden) -> None:
    s1, s2 = golden.tensor("s1"), golden.tensor("s2")
    padding = torch.zeros(2, 47, dtype=torch.bool)
    padding[1, -10:] = True
    loss = golden.network.head.compute_loss(*_train_logits(golden), s1[:, 1:], s2[:, 1:], padding)
    golden.compare("masked_loss", torch.stack(loss))


def test_inference_is_form_two(golden: Golden) -> None:
    s1, s2, stamp = (golden.tensor(name) for name in ("s1", "s2", "stamp"))
    logits, context = golden.network.decode_s1(s1, s2, stamp)
    golden.compare("decode_s1_last", logits[:, -1].reshape(golden.arrays["decode_s1_last"].shape))
    golden.compare("context", context[:, ::6])
    fine = golden.network.decode_s2(context, s1[:, -1:])
    assert fine.shape == (2, 1, 1024)
    golden.compare("decode_s2_last", fine.reshape(golden.arrays["decode_s2_last"].shape))


def test_form_one_with_all_columns(golden: Golden) -> None:
    s1, s2, stamp = (golden.tensor(name) for name in ("s1", "s2", "stamp"))
    _, context = golden.network.decode_s1(s1[:, :-1], s2[:, :-1], stamp[:, :-1])
    golden.compare("train_s2_logits", golden.network.decode_s2(context, s1[:, 1:])[:, ::6])


@torch.no_grad()
def test_a_network_that_records_form_one_uses_it_for_one_column(golden: Golden) -> None:
    network = Kronos(**golden.network.config | {"sibling_form": "trained"}).eval()
    network.load_state_dict(golden.network.state_dict())
    s1, s2, stamp = (golden.tensor(name) for name in ("s1", "s2", "stamp"))
    _, context = network.decode_s1(s1, s2, stamp)
    last = network.decode_s2(context, s1[:, -1:])
    torch.testing.assert_close(last, network.decode_s2(context, s1)[:, -1:], rtol=1e-4, atol=1e-5)
    difference = (last - golden.network.decode_s2(context, s1[:, -1:])).abs().max()
    assert difference > 0.01  # the two forms are two functions


@torch.no_grad()
def test_the_leaking_form_is_not_ours(golden: Golden) -> None:
    s1, s2, stamp = (golden.tensor(name) for name in ("s1", "s2", "stamp"))
    _, context = golden.network.decode_s1(s1, s2, stamp)
    ours = golden.network.decode_s2(context, s1)[:, ::6].numpy()
    for leaking in ("decode_s2_T", "eval_s2_logits"):
        other = golden.arrays[leaking]
        shared = min(ours.shape[1], other.shape[1])
        assert abs(ours[:, :shared] - other[:, :shared]).max() > 0.01 * abs(other).max()


@pytest.mark.parametrize("form", ["published", "trained"])
@torch.no_grad()
def test_no_logits_see_the_future(golden: Golden, form: str) -> None:
    network = Kronos(**golden.network.config | {"sibling_form": form}).eval()
    network.load_state_dict(golden.network.state_dict())
    s1, s2, stamp = (golden.tensor(name) for name in ("s1", "s2", "stamp"))
    cut = 30
    other1, other2, later = s1.clone(), s2.clone(), stamp.clone()
    other1[:, cut:], other2[:, cut:], later[:, cut:] = 1023 - s1[:, cut:], 1023 - s2[:, cut:], 1
    logits, context = network.decode_s1(s1, s2, stamp)
    changed_logits, changed_context = network.decode_s1(other1, other2, later)
    fine, changed_fine = network.decode_s2(context, s1), network.decode_s2(changed_context, other1)
    for before, after in ((logits, changed_logits), (fine, changed_fine)):
        torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=1e-5, atol=1e-6)
        assert (before[:, cut:] - after[:, cut:]).abs().max() > 0.1
    trained, changed = (
        network(a[:, :-1], b[:, :-1], c[:, :-1], use_teacher_forcing=True, s1_targets=a[:, 1:])
        for a, b, c in ((s1, s2, stamp), (other1, other2, later))
    )
    for before, after in zip(trained, changed, strict=True):
        torch.testing.assert_close(before[:, : cut - 1], after[:, : cut - 1], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_second_writing_of_the_network_agrees(golden: Golden) -> None:
    """The reference that the sliding policy is judged by is itself judged by the golden numbers."""
    s1, s2, stamp = (golden.tensor(name)[:1] for name in ("s1", "s2", "stamp"))
    context = banded_context(golden.network, s1, s2, stamp, width=48)
    wanted = golden.tensor("context")[:1]
    torch.testing.assert_close(context[:, ::6], wanted, rtol=1e-3, atol=1e-4)
    fine = banded_fine(golden.network, context, int(s1[0, -1]), width=48)
    torch.testing.assert_close(fine, golden.tensor("decode_s2_last")[0].flatten(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("part", ["predictor", "tokenizer"])
def test_round_trip_is_byte_identical(golden: Golden, part: str, tmp_path: Path) -> None:
    model = golden.network if part == "predictor" else golden.tokenizer
    model.save_pretrained(tmp_path)
    before, after = load_file(golden.folder / part / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert tensor.numpy().tobytes() == after[name].numpy().tobytes(), name
    size = (golden.folder / part / "model.safetensors").stat().st_size
    assert (tmp_path / "model.safetensors").stat().st_size == size


def test_published_file_sizes(tmp_path: Path) -> None:
    sizes = {}
    for name in ("mini", "small"):
        KronosTokenizer(**ZOO[name].tokenizer_config).save_pretrained(tmp_path / name)
        sizes[name] = (tmp_path / name / "model.safetensors").stat().st_size
    Kronos(**ZOO["mini"].network_config).save_pretrained(tmp_path / "network")
    assert (tmp_path / "network" / "model.safetensors").stat().st_size == 16_440_776
    assert sizes == {"mini": 15_842_376, "small": 15_842_368}


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_parameter_counts(entry) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        network, tokenizer = Kronos(**entry.network_config), KronosTokenizer(**entry.tokenizer_config)
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert sum(p.numel() for p in tokenizer.parameters()) == entry.tokenizer_parameters


def test_what_the_published_names_mean() -> None:
    told = {entry.name: (entry.parameters, entry.max_context, entry.tokenizer) for entry in PUBLISHED}
    assert told == {
        "mini": (4_108_032, 2048, "NeoQuasar/Kronos-Tokenizer-2k"),
        "small": (24_741_376, 512, "NeoQuasar/Kronos-Tokenizer-base"),
        "base": (102_310_592, 512, "NeoQuasar/Kronos-Tokenizer-base"),
        "large": (499_246_976, 512, "NeoQuasar/Kronos-Tokenizer-base"),
    }
    assert [entry.tokenizer_config["group_size"] for entry in PUBLISHED] == [5, 4, 4, 4]


def test_buffers_descend_and_number_nothing() -> None:
    tokenizer = KronosTokenizer(**ZOO["mini"].tokenizer_config)
    basis, group = tokenizer.tokenizer.bsq.basis, tokenizer.tokenizer.bsq.group_basis
    assert basis.dtype == group.dtype == torch.int64
    assert basis.tolist() == [2**i for i in range(19, -1, -1)]
    assert group.tolist() == [16, 8, 4, 2, 1]
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    before = tokenizer.encode(x)
    basis.zero_()
    group.zero_()
    assert torch.equal(tokenizer.encode(x), before)


def test_initialisation() -> None:
    torch.manual_seed(0)
    config = {**ZOO["mini"].network_config, "n_layers": 1}
    network = Kronos(**config)
    d = config["d_model"]
    for name, weight in network.state_dict().items():
        if name.endswith("inv_freq"):
            continue
        if "norm" in name:
            assert (weight == 1).all(), name
        elif name.endswith("bias"):
            # the norms have none; every other bias belongs to a linear layer
            assert (weight == 0).all(), name
        elif "emb" in name and "fusion" not in name:
            assert weight.std() == pytest.approx(d**-0.5, rel=0.1), name
        else:
            assert weight.std() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.1), name


def test_fixed_time_tables_are_sinusoids() -> None:
    config = {**ZOO["mini"].network_config, "n_layers": 1, "learn_te": False, "d_model": 16, "n_heads": 4}
    network = Kronos(**config)
    table = network.state_dict()["time_emb.day_embed.emb.weight"]
    assert table.shape == (32, 16)
    for p in (0, 1, 17, 31):
        for i in range(8):
            angle = torch.tensor(p / 10000 ** (2 * i / 16))
            assert table[p, 2 * i].item() == pytest.approx(angle.sin().item(), abs=1e-5)
            assert table[p, 2 * i + 1].item() == pytest.approx(angle.cos().item(), abs=1e-5)
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    assert sorted(frozen) == sorted(name for name, _ in network.named_parameters() if name.startswith("time_emb."))
