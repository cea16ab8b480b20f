"""Bare weights files: recognised by their keys, sized by their shapes, and never run."""

import io
import json
import pickle
import random
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import kronos
from conftest import Golden
from kronos.errors import CheckpointError, KronosWarning
from kronos.model import ZOO, Kronos, KronosTokenizer, context_of, legacy, load_pair
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

# the tiny networks have no published size, and are told so; what is told is tested below
pytestmark = pytest.mark.filterwarnings("ignore:.*no config.json beside it")

State = dict[str, torch.Tensor]


def refused(load: Callable[[], object], *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


# What is read -------------------------------------------------------------------------------------------------------


def as_zip(state: Any, path: Path) -> None:
    torch.save(state, path)


def as_old_pickle(state: Any, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [as_zip, as_old_pickle])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_state_dicts_of_every_name(tmp_path: Path, write: Callable[[Any, Path], None], suffix: str) -> None:
    network, tokenizer = tiny_network(), tiny_tokenizer()
    for model in (network, tokenizer):
        write(model.state_dict(), tmp_path / f"weights{suffix}")
        for place in (tmp_path / f"weights{suffix}", str(tmp_path / f"weights{suffix}")):
            back = type(model).from_pretrained(place)
            assert back.fingerprint() == model.fingerprint()
            assert not back.training
            assert back.config == model.config


def test_a_single_safetensors_file(tmp_path: Path) -> None:
    for name in ("any.safetensors", "ANY.SAFETENSORS"):
        save_file(tiny_network().state_dict(), tmp_path / name)
        assert Kronos.from_pretrained(tmp_path / name).fingerprint() == tiny_network().fingerprint()


def wrapped_in(name: str) -> Callable[[State], Any]:
    return lambda state: {name: state, "epoch": 3, "val_loss": 0.5, "note": "the best one"}


def with_an_optimiser(state: State) -> Any:
    moments = {"step": torch.tensor(2.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    optimiser = {
        "state": {0: moments, 1: moments},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95), "params": [0, 1]}],
    }
    return {"epoch": 4, "model_state_dict": state, "optimizer_state_dict": optimiser, "losses": [1.0, 0.5]}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    **{name: wrapped_in(name) for name in ("model", "model_state_dict", "state_dict", "network", "weights")},
    "optimiser": with_an_optimiser,
    "parallel": lambda state: prefixed(state, "module."),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled and parallel": lambda state: {"model": prefixed(state, "module._orig_mod.")},
    "compiled inside": lambda state: {key.replace(".0.", "._orig_mod.0."): value for key, value in state.items()},
    "lightning": lambda state: {"state_dict": prefixed(state, "net.") | {"loss.weight": torch.ones(3)}, "epoch": 1},
    "ordered": lambda state: OrderedDict(state),
    "parameters": lambda state: {
        key: torch.nn.Parameter(value) if value.is_floating_point() else value for key, value in state.items()
    },
    "with averages": lambda state: {"ema": {k: v * 0 for k, v in state.items()}, "model": state},
    "beside the other": lambda state: {"tokenizer": tiny_tokenizer().state_dict(), "predictor": state},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_training_scripts_wrap_weights_in(tmp_path: Path, wrapping: str) -> None:
    torch.save(WRAPPINGS[wrapping](tiny_network().state_dict()), tmp_path / "file.pt")
    assert Kronos.from_pretrained(tmp_path / "file.pt").fingerprint() == tiny_network().fingerprint()


def test_golden_numbers_from_bare_files(golden: Golden, tmp_path: Path) -> None:
    torch.save({"epoch": 1, "model_state_dict": prefixed(golden.network.state_dict(), "module.")}, tmp_path / "p.pt")
    torch.save(golden.tokenizer.state_dict(), tmp_path / "t.pth")
    network, tokenizer = Kronos.from_pretrained(tmp_path / "p.pt"), KronosTokenizer.from_pretrained(tmp_path / "t.pth")
    with torch.no_grad():
        s1, s2 = tokenizer.encode(golden.tensor("x"), half=True)
        golden.compare("s1", s1)
        golden.compare("s2", s2)
        golden.compare("decoded", tokenizer.decode([s1, s2], half=True))
        logits, context = network.decode_s1(s1, s2, golden.tensor("stamp"))
        golden.compare("decode_s1_last", logits[:, -1])
        golden.compare("decode_s2_last", network.decode_s2(context, s1[:, -1:])[:, -1])
        same, _ = golden.network.decode_s1(s1, s2, golden.tensor("stamp"))
    assert torch.equal(logits, same)
    built = json.loads((golden.folder / "predictor" / "config.json").read_text())
    assert {k: v for k, v in network.config.items() if k in built and "dropout" not in k} == {
        k: v for k, v in built.items() if "dropout" not in k
    }


def test_weights_are_their_own(tmp_path: Path) -> None:
    state = tiny_network().state_dict()
    key, other = "transformer.0.norm1.weight", "transformer.1.norm1.weight"
    state[other] = state[key]  # one memory in the file, by two names
    odd = "transformer.0.ffn.w1.weight"
    state[odd] = state[odd].T.contiguous().T
    torch.save(state, tmp_path / "tied.pt")
    network = Kronos.from_pretrained(tmp_path / "tied.pt")
    with torch.no_grad():
        network.transformer[0].norm1.weight += 1
    assert torch.equal(network.state_dict()[other], state[other])
    network.save_pretrained(tmp_path / "saved")  # safetensors refuses shared memory
    assert Kronos.from_pretrained(tmp_path / "saved").fingerprint() == network.fingerprint()


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    torch.save(tiny_network().bfloat16().state_dict(), tmp_path / "half.pt")
    assert {tensor.dtype for tensor in Kronos.from_pretrained(tmp_path / "half.pt").state_dict().values()} == {
        torch.float32
    }


# What the shapes say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if entry.network_config])
def test_published_configurations_are_read_off_the_shapes(name: str) -> None:
    entry = ZOO[name]
    with torch.device("meta"):
        network, tokenizer = Kronos(**entry.network_config), KronosTokenizer(**entry.tokenizer_config)
    assert legacy.inferred(network.state_dict(), "predictor", Path("x")) == entry.network_config
    assert legacy.inferred(tokenizer.state_dict(), "tokenizer", Path("x")) == entry.tokenizer_config
    assert legacy.is_published(entry.network_config, "predictor")
    assert legacy.is_published(entry.tokenizer_config, "tokenizer")


@pytest.mark.parametrize(
    "changes",
    [
        {"learn_te": False},
        {"bits": (3, 7)},
        {"n_layers": 5, "d_model": 32, "n_heads": 8, "ff_dim": 20},
        {"n_layers": 1, "n_heads": 1},
        {"n_layers": 11, "d_model": 8, "n_heads": 4, "ff_dim": 8},
    ],
    ids=str,
)
def test_other_networks_are_read_off_their_shapes(changes: dict[str, Any]) -> None:
    network = tiny_network(**changes)
    config = legacy.inferred(network.state_dict(), "predictor", Path("x"))
    assert config == {key: network.config[key] for key in config}
    assert not legacy.is_published(config, "predictor")


@pytest.mark.parametrize(("encoder", "decoder"), [(3, 2), (1, 3), (4, 1)])
def test_other_tokenizers_are_read_off_their_shapes(encoder: int, decoder: int) -> None:
    config = tiny_tokenizer().config | {"n_enc_layers": encoder, "n_dec_layers": decoder, "s1_bits": 3, "d_in": 5}
    tokenizer = KronosTokenizer(**config | {"group_size": 4})
    found = legacy.inferred(tokenizer.state_dict(), "tokenizer", Path("x"))
    assert found == {key: tokenizer.config[key] for key in found}


def test_a_published_size_is_taken_for_what_it_is_without_a_word(tmp_path: Path) -> None:
    network = Kronos(**ZOO["mini"].network_config)
    torch.save(network.state_dict(), tmp_path / "predictor.pt")
    tokenizers = {}
    for name in ("mini", "small"):
        torch.save(KronosTokenizer(**ZOO[name].tokenizer_config).state_dict(), tmp_path / f"{name}-tokenizer.pt")
        tokenizers[name] = tmp_path / f"{name}-tokenizer.pt"
    pair = load_pair(tmp_path / "predictor.pt", tokenizer=tokenizers["mini"])
    assert (pair.name, context_of(pair.network)) == ("predictor", 2048)
    assert pair.network.config == network.config
    assert pair.tokenizer.config == KronosTokenizer(**ZOO["mini"].tokenizer_config).config
    refused(lambda: load_pair(tmp_path / "predictor.pt", tokenizer=tokenizers["small"]), "Kronos-Tokenizer-2k")


@pytest.mark.filterwarnings("default")
def test_an_unpublished_size_is_told_what_is_assumed(tmp_path: Path) -> None:
    torch.save(tiny_network(**TRAINED).state_dict(), tmp_path / "own.pt")
    with pytest.warns(KronosWarning, match=r"own.pt: no config.json beside it.*as published"):
        network = Kronos.from_pretrained(tmp_path / "own.pt")
    assert (network.sibling_form, network.stamp_of, network.clock) == ("published", "bar", "given")


@pytest.mark.filterwarnings("error")
def test_a_configuration_beside_the_file_wins(tmp_path: Path) -> None:
    network = tiny_network(**TRAINED, max_context=96)
    network.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"model": network.state_dict()}, tmp_path / "best.pt")
    for place in (tmp_path, tmp_path / "best.pt"):
        back = Kronos.from_pretrained(place)
        assert back.config == network.config
        assert back.fingerprint() == network.fingerprint()


def test_a_configuration_that_does_not_fit_is_not_passed_over(tmp_path: Path) -> None:
    tiny_network(d_model=32, ff_dim=20).save_pretrained(tmp_path)
    torch.save(tiny_network().state_dict(), tmp_path / "best.pt")
    refused(lambda: Kronos.from_pretrained(tmp_path / "best.pt"), "best.pt", "does not fit its config.json", "(16,)")
    (tmp_path / "config.json").write_text("{")
    refused(lambda: Kronos.from_pretrained(tmp_path / "best.pt"), "config.json", "not a readable configuration")
    (tmp_path / "config.json").write_text('{"lr": 1}')
    refused(lambda: Kronos.from_pretrained(tmp_path / "best.pt"), "config.json", "not a Kronos configuration")


# Folders ------------------------------------------------------------------------------------------------------------


def put(path: Path, state: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def is_the_pair(place: str | Path, **options: Any) -> None:
    pair = load_pair(place, **options)
    assert pair.network.fingerprint() == tiny_network().fingerprint()
    assert pair.tokenizer.fingerprint() == tiny_tokenizer().fingerprint()


def test_two_files_in_one_folder_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    put(tmp_path / "tokenizer.pt", tiny_network().state_dict())  # names mean nothing
    put(tmp_path / "predictor.pt", {"state_dict": tiny_tokenizer().state_dict()})
    is_the_pair(tmp_path)
    is_the_pair(tmp_path / "tokenizer.pt")
    assert Kronos.from_pretrained(tmp_path).fingerprint() == tiny_network().fingerprint()
    assert KronosTokenizer.from_pretrained(tmp_path).fingerprint() == tiny_tokenizer().fingerprint()


def test_folders_as_published_training_scripts_leave_them(tmp_path: Path) -> None:
    put(tmp_path / "a" / "tokenizer" / "best_tokenizer_epoch_5.pt", tiny_tokenizer().state_dict())
    put(tmp_path / "a" / "predictor" / "best_predictor_epoch_4.pt", tiny_network().state_dict())
    for place in ("a", "a/predictor", "a/predictor/best_predictor_epoch_4.pt"):
        is_the_pair(tmp_path / place)
    tiny_tokenizer().save_pretrained(tmp_path / "b" / "tokenizer" / "best_model")
    tiny_network().save_pretrained(tmp_path / "b" / "basemodel" / "best_model")
    put(tmp_path / "b" / "basemodel" / "best_model" / "pytorch_model.bin", tiny_network().state_dict())
    (tmp_path / "b" / "basemodel" / "best_model" / "model.safetensors").unlink()
    for place in ("b", "b/basemodel", "b/basemodel/best_model"):
        is_the_pair(tmp_path / place)
    put(tmp_path / "c" / "predictor" / "checkpoints" / "best_model" / "model.pt", tiny_network().state_dict())
    put(tmp_path / "c" / "tokenizer" / "checkpoints" / "best_model" / "model.pt", tiny_tokenizer().state_dict())
    for place in ("c", "c/predictor", "c/predictor/checkpoints/best_model"):
        is_the_pair(tmp_path / place)


def test_both_networks_in_one_file(tmp_path: Path) -> None:
    both = {"tokenizer": tiny_tokenizer().state_dict(), "model": tiny_network().state_dict()}
    is_the_pair(put(tmp_path / "both.pt", both))
    is_the_pair(tmp_path)
    module = prefixed(tiny_tokenizer().state_dict(), "tok.") | prefixed(tiny_network().state_dict(), "net.")
    is_the_pair(put(tmp_path / "one" / "module.pt", module))


def test_files_named_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "predictor.pt", tiny_network().state_dict())
    put(tmp_path / "elsewhere" / "tokenizer.pth", tiny_tokenizer().state_dict())
    monkeypatch.chdir(tmp_path)
    refused(lambda: load_pair("predictor.pt"), "no tokenizer lies beside", "tokenizer=")
    is_the_pair("predictor.pt", tokenizer="elsewhere/tokenizer.pth")
    is_the_pair("predictor.pt", tokenizer=tmp_path / "elsewhere")
    model = kronos.load("predictor.pt", tokenizer="elsewhere/tokenizer.pth", device="cpu")
    assert model.forecast(bars_frame(16), 2, samples=2).paths.shape == (2, 2, 6)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    is_the_pair("predictor.pt")


def test_a_network_beside_the_other_one_s_configuration(tmp_path: Path) -> None:
    tiny_network(**TRAINED).save_pretrained(tmp_path)
    put(tmp_path / "quantiser.pt", tiny_tokenizer().state_dict())
    pair = load_pair(tmp_path)
    assert pair.network.sibling_form == "trained"
    assert pair.tokenizer.fingerprint() == tiny_tokenizer().fingerprint()


def test_copies_of_the_usual_file_do_not_confuse(tmp_path: Path) -> None:
    save_file(tiny_network().state_dict(), tmp_path / "model.safetensors")
    put(tmp_path / "a_copy.pt", tiny_network(seed=5).state_dict())
    assert Kronos.from_pretrained(tmp_path).fingerprint() == tiny_network().fingerprint()


def test_what_else_lies_there_does_not_disturb(tmp_path: Path) -> None:
    put(tmp_path / "optimizer.pt", {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []})
    put(tmp_path / "training_args.bin", Gadget(tmp_path / "harm"))
    (tmp_path / "scheduler.pt").write_bytes(b"")
    (tmp_path / ".predictor.pt.tmp.pt").write_bytes(b"half of a download")
    put(tmp_path / "weights.PT", tiny_network().state_dict())
    assert Kronos.from_pretrained(tmp_path).fingerprint() == tiny_network().fingerprint()
    assert not (tmp_path / "harm").exists()


def test_ambiguous_folders(tmp_path: Path) -> None:
    for epoch in (1, 2):
        put(tmp_path / "predictor" / f"epoch_{epoch}.pt", tiny_network(epoch).state_dict())
    put(tmp_path / "tokenizer" / "best.pt", tiny_tokenizer().state_dict())
    refused(lambda: load_pair(tmp_path), "epoch_1.pt and epoch_2.pt", "predictor", "name the file")
    refused(lambda: Kronos.from_pretrained(tmp_path / "predictor"), "epoch_1.pt and epoch_2.pt")
    assert load_pair(tmp_path / "predictor" / "epoch_2.pt").network.fingerprint() == tiny_network(2).fingerprint()
    both = {"student": tiny_network(1).state_dict(), "teacher": tiny_network(2).state_dict()}
    refused(lambda: Kronos.from_pretrained(put(tmp_path / "both.pt", both)), "student and teacher")
    flat = prefixed(both["student"], "a.") | prefixed(both["teacher"], "b.")
    refused(lambda: Kronos.from_pretrained(put(tmp_path / "flat.pt", flat)), "several predictors", "a.embedding")


def test_a_broken_tokenizer_beside_is_not_replaced_by_a_published_one(tmp_path: Path) -> None:
    Kronos(**ZOO["mini"].network_config).save_pretrained(tmp_path / "predictor")
    (tmp_path / "tokenizer").mkdir()
    refused(lambda: load_pair(tmp_path), "tokenizer", "no config.json")
    (tmp_path / "tokenizer" / "best.pt").write_bytes(b"")
    refused(lambda: load_pair(tmp_path), "best.pt", "it is empty")


def test_missing_files(tmp_path: Path) -> None:
    refused(lambda: load_pair(str(tmp_path / "predictor.pt")), "predictor.pt", "no such file")
    refused(lambda: load_pair("models/predictor.pth"), "models/predictor.pth: no such file")
    refused(lambda: Kronos.from_pretrained("predictor.pt"), "predictor.pt: no such file")
    refused(lambda: Kronos.from_pretrained(tmp_path), "no config.json")
    refused(lambda: load_pair(tmp_path), "no config.json")
    put(tmp_path / "tokenizer.pt", tiny_tokenizer().state_dict())
    refused(lambda: load_pair(tmp_path / "tokenizer.pt"), "holds a tokenizer's weights; a predictor was wanted")
    refused(lambda: load_pair("nano", tokenizer=tmp_path / "gone.pt"), "gone.pt")


# What is refused ----------------------------------------------------------------------------------------------------


class Gadget:
    """Makes a file when it is unpickled without restriction."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return Path.touch, (self.flag,)


def in_a_tar(gadget: Gadget, path: Path) -> None:
    """The first format of torch.save, whose parts older versions unpickle whatever they are asked."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(gadget)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def in_a_tar_that_looks_like_a_pickle(gadget: Gadget, path: Path) -> None:
    in_a_tar(gadget, path)
    raw = bytearray(path.read_bytes())
    raw[0] = 0x80  # the first letter of the first member's name
    total = sum(raw[:148]) + 8 * 32 + sum(raw[156:512])
    raw[148:156] = f"{total:06o}\0 ".encode()
    path.write_bytes(bytes(raw))


GADGETS: dict[str, Callable[[Gadget, Path], object]] = {
    "zip": lambda gadget, path: torch.save(gadget, path),
    "old": lambda gadget, path: torch.save(gadget, path, _use_new_zipfile_serialization=False),
    "plain": lambda gadget, path: path.write_bytes(pickle.dumps(gadget)),
    "protocol 5": lambda gadget, path: path.write_bytes(pickle.dumps(gadget, protocol=5)),
    "in a wrapper": lambda gadget, path: torch.save({"model": tiny_network().state_dict(), "args": gadget}, path),
    "among the weights": lambda gadget, path: torch.save(tiny_network().state_dict() | {"x": gadget}, path),
    "tar": in_a_tar,
    "tar in disguise": in_a_tar_that_looks_like_a_pickle,
}


@pytest.mark.parametrize("kind", GADGETS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_nothing_in_a_file_is_ever_run(tmp_path: Path, kind: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flag, path = tmp_path / "harm", tmp_path / f"weights{suffix}"
    gadget = Gadget(flag)
    pickle.loads(pickle.dumps(gadget))
    assert flag.exists(), "the gadget is blunt"
    flag.unlink()
    GADGETS[kind](gadget, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for place in (path, tmp_path):
        refused(lambda place=place: Kronos.from_pretrained(place), "weights")  # type: ignore[misc]
        refused(lambda place=place: load_pair(place, tokenizer=path))  # type: ignore[misc]
    assert not flag.exists()


def test_pickled_models_say_how_to_save_weights(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    refused(
        lambda: Kronos.from_pretrained(tmp_path / "model.pt"),
        "torch.nn.modules.linear.Linear",
        "runs code",
        "torch.save(model.state_dict()",
    )
    with zipfile.ZipFile(tmp_path / "program.pt", "w") as archive:  # by these parts torch tells a program from weights
        for name, content in (("constants.pkl", b"\x80\x02)."), ("data.pkl", b"\x80\x02)."), ("version", b"3\n")):
            archive.writestr(f"program/{name}", content)
    refused(lambda: Kronos.from_pretrained(tmp_path / "program.pt"), "TorchScript", "torch.save(model.state_dict()")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"hello there", "not a file of torch.save"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n<html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS pointer"),
        (b"\x80\x02}.", "damaged"),
        (b"PK\x03\x04 nothing more", "damaged"),
        ((64).to_bytes(8, "little") + b'{"a":1}', "a safetensors file under another name"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    refused(lambda: Kronos.from_pretrained(tmp_path / "weights.pt"), "weights.pt", words)


def test_safetensors_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torch.save(tiny_network().state_dict(), path)
    refused(lambda: Kronos.from_pretrained(path), "call it .pt")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(lambda: Kronos.from_pretrained(path), "Git LFS pointer")
    path.unlink()
    path.mkdir()
    refused(lambda: Kronos.from_pretrained(path), "no config.json")


@pytest.mark.parametrize("write", [as_zip, as_old_pickle])
def test_files_cut_short(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    write(tiny_network().state_dict(), tmp_path / "whole.pt")
    raw = (tmp_path / "whole.pt").read_bytes()
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut.pt").write_bytes(raw[: int(len(raw) * share)])
        refused(lambda: Kronos.from_pretrained(tmp_path / "cut.pt"), "cut.pt")


@pytest.mark.parametrize("write", [as_zip, as_old_pickle])
def test_damaged_files_raise_our_error_and_no_other(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    chance = random.Random(7)
    write({"model": tiny_network(n_layers=1).state_dict(), "epoch": 3}, tmp_path / "whole.pt")
    raw = (tmp_path / "whole.pt").read_bytes()
    outcomes, refusals = set(), 0
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(min(len(raw), 3000))] = chance.randrange(256)
        (tmp_path / "damaged.pt").write_bytes(bytes(damaged))
        try:
            Kronos.from_pretrained(tmp_path / "damaged.pt")
            outcomes.add("damaged.pt")
        except CheckpointError as error:
            outcomes.add("damaged.pt" if "damaged.pt" in str(error) else str(error))
            refusals += 1
    assert outcomes == {"damaged.pt"}
    assert refusals > 20


def test_contents_that_are_no_state_dict(tmp_path: Path) -> None:
    for content, words in (
        ([torch.ones(3)], "holds a list, not a state dict"),
        (torch.ones(3), "holds a Tensor, not a state dict"),
        (3, "holds an int, not a state dict"),
        ({}, "its keys are those of neither network; a predictor was wanted"),
        ({"layer.weight": torch.ones(3)}, "those of neither network"),
        ({1: {2: {3: {4: {5: tiny_network().state_dict()}}}}}, "those of neither network"),
    ):
        put(tmp_path / "odd.pt", content)
        refused(lambda: Kronos.from_pretrained(tmp_path / "odd.pt"), "odd.pt", words)


def without(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


def changed(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[State], object]:
    return lambda state: state.update({key: change(state[key])})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("norm.weight"), ("not a whole predictor", "lacks norm.weight")),
        (without("head.proj_s2.bias"), ("lacks head.proj_s2.bias",)),
        (without("transformer.0.self_attn.rotary.inv_freq"), ("lacks transformer.0", "sizes cannot be told")),
        (without("embedding.emb_s2.weight"), ("lacks embedding.emb_s2.weight", "config.json")),
        (lambda state: state.update({"stray": torch.ones(2)}), ("unknown stray",)),
        (lambda state: state.update({"transformer.7.norm1.weight": torch.ones(16)}), ("lacks transformer.2",)),
        (changed("norm.weight", lambda t: torch.ones(7)), ("norm.weight has shape (7,)",)),
        (changed("embedding.emb_s1.weight", lambda t: t[:31]), ("vocabulary of 31",)),
        (changed("embedding.emb_s1.weight", lambda t: t.flatten()), ("sizes that no predictor has",)),
        (changed("norm.weight", lambda t: t.char()), ("norm.weight holds int8",)),
        (changed("norm.weight", lambda t: t.to_sparse()), ("norm.weight is no plain tensor",)),
        (changed("norm.weight", lambda t: torch.empty(16, device="meta")), ("norm.weight is no plain tensor",)),
        (changed("norm.weight", lambda t: t.tolist()), ("norm.weight is no tensor but list",)),
        (changed("transformer.0.self_attn.rotary.inv_freq", lambda t: t[:0]), ("sizes that no predictor has",)),
    ],
    ids=[
        "a norm", "a bias", "frequencies", "a table", "a stray", "a gap", "a shape", "a vocabulary", "flat",
        "whole numbers", "sparse", "empty", "list", "no frequencies",
    ],
)  # fmt: skip
def test_tensors_that_make_no_network(
    tmp_path: Path, change: Callable[[State], object], words: tuple[str, ...]
) -> None:
    state = dict(tiny_network().state_dict())
    change(state)
    put(tmp_path / "weights.pt", state)
    refused(lambda: Kronos.from_pretrained(tmp_path / "weights.pt"), "weights.pt", *words)
