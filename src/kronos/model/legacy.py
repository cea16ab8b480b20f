"""Weights that came as a bare file: what `torch.save` wrote, or one safetensors file, often without a configuration.

A network is recognised by its keys, never by a file's name, and what config.json would have said is read off the shapes
of its tensors. Pickles are read with `weights_only=True` and in no other way. This file knows the published names and
sizes; it knows neither the networks' classes nor where a folder lies.
"""

import json
import pickle
import re
import struct
import tarfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from kronos.errors import CheckpointError

Part = Literal["predictor", "tokenizer"]
State = dict[str, Tensor]

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

PUBLISHED_DROPOUTS: Mapping[tuple[int, int, int, int], tuple[float, float]] = {
    (4, 256, 4, 512): (0.2, 0.0),
    (8, 512, 8, 1024): (0.25, 0.1),
    (12, 832, 16, 2048): (0.2, 0.0),
    (18, 1664, 32, 3072): (0.2, 0.0),
}
"""By layers, width, heads and feed-forward width: dropout of feed-forward and residual, of attention and tokens."""

TOKENIZER_CONSTANTS: Mapping[str, float] = {
    **dict.fromkeys(("ffn_dropout_p", "attn_dropout_p", "resid_dropout_p"), 0.0),
    "beta": 0.05,
    "gamma0": 1.0,
    "gamma": 1.1,
    "zeta": 0.05,
}
"""What the tensors of a tokenizer do not say, as all published ones have it; it matters to training alone."""

_MARKS: Mapping[Part, str] = {"predictor": "embedding.emb_s1.weight", "tokenizer": "quant_embed.weight"}
_TELLING: Mapping[Part, set[str]] = {
    "predictor": {"n_layers", "learn_te", "token_dropout_p"},
    "tokenizer": {"d_in", "n_enc_layers", "n_dec_layers", "group_size"},
}
_WRAPPING = {"module", "_orig_mod"}  # parts that parallel training and torch.compile put into keys
_NESTED = ("model_state_dict", "state_dict", "model", "network", "net")  # in this order where several fit
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
# whatever damaged bytes make of the reader's little machine
_DAMAGE = (
    *(EOFError, LookupError, ValueError, TypeError, AttributeError),
    *(RuntimeError, AssertionError, OSError, struct.error),
)
_AS_WEIGHTS = (
    "where you trust the file, load it as it was made and save its weights: "
    "torch.save(model.state_dict(), 'weights.pt')"
)


def part_of(names: Iterable[str]) -> Part | None:
    """Which network these names of configuration keys or constructor arguments belong to."""
    given = set(names)
    return next((part for part, telling in _TELLING.items() if telling & given), None)


def part_of_config(path: Path) -> Part | None:
    """Which network a config.json describes; None where it cannot be told, or there is none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever needs it reads it again, and says what is wrong with it
    return part_of(config) if isinstance(config, dict) else None


# Files --------------------------------------------------------------------------------------------------------------


def read_network(path: Path, part: Part) -> State:
    """The state of one of the networks in a weights file, under its published keys."""
    found = networks_in(_contents(path), path)
    if part not in found:
        kept = ", ".join(found)
        what = f"holds a {kept}'s weights" if kept else "its keys are those of neither network"
        raise CheckpointError(f"{path}: {what}; a {part} was wanted")
    state: State = found[part]
    for key, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: {key} is no tensor but {type(tensor).__name__}")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(f"{path}: {key} is no plain tensor (sparse, quantised, or saved without its numbers)")
    # torch.save keeps shared memory shared and strides odd; weights of their own, one after another, are wanted
    if _is_safetensors(path):
        return state
    return {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}


def parts_in(path: Path) -> tuple[Part, ...]:
    """Which networks a weights file holds, by its keys alone."""
    return tuple(networks_in(_contents(path, keys_only=True), path))


@dataclass(frozen=True)
class Search:
    """What a look into a folder brought."""

    path: Path | None = None
    troubles: list[str] = field(default_factory=list)
    """Of files that look like weights and could not be read."""


def search(folder: Path, part: Part) -> Search:
    """The one weights file of a folder that holds this network; two of them are an error."""
    canonical = folder / "model.safetensors"  # the name that every writer of safetensors uses: preferred to its copies
    files = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files.sort(key=lambda path: path != canonical)
    found: Path | None = None
    troubles = []
    for path in files:
        try:
            parts = parts_in(path)
        except CheckpointError as error:  # optimisers, somebody's arguments: not ours to read
            troubles.append(str(error))
            continue
        if part not in parts:
            continue
        if path == canonical:
            return Search(path)
        if found is not None:
            raise CheckpointError(f"{folder}: {found.name} and {path.name} both hold a {part}'s weights; name the file")
        found = path
    return Search(found, troubles)


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _contents(path: Path, keys_only: bool = False) -> Mapping[str, Any]:
    if _is_safetensors(path):
        return _read_safetensors(path, keys_only)
    contents = _read_pickle(path, keys_only)
    if not isinstance(contents, Mapping):
        raise CheckpointError(f"{path}: holds {_a(type(contents).__name__)}, not a state dict")
    return contents


def _read_safetensors(path: Path, keys_only: bool) -> Mapping[str, Any]:
    try:
        if keys_only:
            with safe_open(path, "pt") as file:
                return dict.fromkeys(file.keys())
        tensors: State = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        hint = _nature(path) or str(error)
        raise CheckpointError(f"{path}: not a readable safetensors file ({hint})") from error
    return tensors


def _read_pickle(path: Path, keys_only: bool) -> Any:
    """What `torch.save` wrote, as far as that is tensors, numbers, text and containers of them."""
    zipped = _refuse_what_is_no_pickle(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old protocols and archives of programs; what is wrong is said below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and keys_only)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        held = f"holds {named[1]}, which is no weight" if named else "is no plain state dict, or damaged"
        raise CheckpointError(
            f"{path}: {held}; pickled objects are not loaded, because that runs code from the file ({_AS_WEIGHTS})"
        ) from error
    except _DAMAGE as error:
        if "TorchScript" in str(error):
            raise CheckpointError(f"{path}: a TorchScript program, not weights ({_AS_WEIGHTS})") from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise CheckpointError(f"{path}: damaged or not whole ({reason})") from error


def _refuse_what_is_no_pickle(path: Path) -> bool:
    """Raise for what torch.save does not write; true for the zip archives that it has written since 1.6."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        # older torch unpickles archives of its first format without restriction, whatever it is asked
        tar = not start.startswith(_ZIP) and tarfile.is_tarfile(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: not readable ({error})") from error
    if tar or not start.startswith((_ZIP, _PICKLE)):
        raise CheckpointError(f"{path}: not a file of torch.save ({_nature(path) or 'it begins otherwise'})")
    return start.startswith(_ZIP)


def _nature(path: Path) -> str | None:
    """What a file really is, where its first bytes tell."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return None
    text = start.lstrip().lower()
    if not start:
        return "it is empty"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, a few lines in the weights' place: fetch the file itself"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page: the download brought something else than the file"
    if start.startswith((_ZIP, _PICKLE)):
        return "what torch.save writes under another name: call it .pt"
    if start[8:9] == b"{":
        return "a safetensors file under another name: call it .safetensors"
    return None


# Keys and shapes ----------------------------------------------------------------------------------------------------


def networks_in(contents: Mapping[Any, Any], where: Path, depth: int = 3) -> dict[Part, Any]:
    """The networks among a file's contents, by part: state dicts under published keys, free of what wrapped them."""
    found = _at_this_level(contents, where)
    nested = [(name, value) for name, value in contents.items() if isinstance(value, Mapping) and depth]
    inside = {name: networks_in(value, where, depth - 1) for name, value in nested}
    for part in _MARKS:
        holders = [name for name, parts in inside.items() if part in parts]
        if part in found or not holders:
            continue
        usual = [name for name in _NESTED if name in holders]
        if len(holders) > 1 and not usual:
            raise CheckpointError(f"{where}: {' and '.join(map(str, holders))} both hold a {part}'s weights")
        found[part] = inside[usual[0] if usual else holders[0]][part]
    return found


def _at_this_level(contents: Mapping[Any, Any], where: Path) -> dict[Part, Any]:
    """The networks whose tensors lie in this very mapping, each below a prefix of its own or none."""
    named = [key for key in contents if isinstance(key, str)]
    plain = {key: ".".join(word for word in key.split(".") if word not in _WRAPPING) for key in named}
    found: dict[Part, Any] = {}
    for part, mark in _MARKS.items():
        marks = [key for key in plain.values() if key == mark or key.endswith(f".{mark}")]
        if len(marks) > 1:
            raise CheckpointError(f"{where}: holds several {part}s: {' and '.join(sorted(marks)[:2])}")
        if marks:
            prefix = marks[0].removesuffix(mark)
            found[part] = {key.removeprefix(prefix): contents[k] for k, key in plain.items() if key.startswith(prefix)}
    return found


def inferred(state: State, part: Part, where: Path) -> dict[str, Any]:
    """The constructor's arguments of a network from its tensors; what they do not say is as published."""
    try:
        return _predictor(state) if part == "predictor" else _tokenizer(state)
    except KeyError as error:
        trouble = f"lacks {error.args[0]}"
    except (IndexError, ZeroDivisionError, ValueError) as error:
        trouble = f"sizes that no {part} has ({error})"
    raise CheckpointError(f"{where}: {trouble}; without a config.json beside it, its sizes cannot be told")


def is_published(config: Mapping[str, Any], part: Part) -> bool:
    """Whether these arguments are those of a published network."""
    bits = (config["s1_bits"], config["s2_bits"]) == (10, 10)
    heads = (config["d_model"], config["n_heads"], config["ff_dim"])
    if part == "predictor":
        return bits and (config["n_layers"], *heads) in PUBLISHED_DROPOUTS
    layers = (config["n_enc_layers"], config["n_dec_layers"])
    return bits and heads == (256, 4, 512) and layers == (4, 4) and config["group_size"] in (4, 5)


def _predictor(state: State) -> dict[str, Any]:
    vocabulary, width = state["embedding.emb_s1.weight"].shape
    layers = _layers(state, "transformer")
    heads, hidden = _block(state, "transformer", width)
    bits = {"s1_bits": _bits(vocabulary), "s2_bits": _bits(state["embedding.emb_s2.weight"].shape[0])}
    wide, narrow = PUBLISHED_DROPOUTS.get((layers, width, heads, hidden), (0.0, 0.0))
    return {
        **bits,
        "n_layers": layers,
        "d_model": width,
        "n_heads": heads,
        "ff_dim": hidden,
        **dict.fromkeys(("ffn_dropout_p", "resid_dropout_p"), wide),
        **dict.fromkeys(("attn_dropout_p", "token_dropout_p"), narrow),
        "learn_te": "time_emb.minute_embed.weight" in state,
    }


def _tokenizer(state: State) -> dict[str, Any]:
    bits, width = state["quant_embed.weight"].shape
    coarse = state["post_quant_embed_pre.weight"].shape[1]
    encoder, decoder = (_layers(state, stack) for stack in ("encoder", "decoder"))
    heads, hidden = _block(state, "encoder" if encoder else "decoder", width)
    return {
        "d_in": state["embed.weight"].shape[1],
        "d_model": width,
        "n_heads": heads,
        "ff_dim": hidden,
        "n_enc_layers": encoder + 1,  # the published count has one more than there are blocks
        "n_dec_layers": decoder + 1,
        "s1_bits": coarse,
        "s2_bits": bits - coarse,
        **TOKENIZER_CONSTANTS,
        "group_size": state["tokenizer.bsq.group_basis"].shape[0],
    }


def _layers(state: State, stack: str) -> int:
    numbers = [int(found[1]) for key in state if (found := re.match(rf"{stack}\.(\d+)\.", key))]
    return max(numbers, default=-1) + 1


def _block(state: State, stack: str, width: int) -> tuple[int, int]:
    """Heads and feed-forward width of a stack's blocks; a head's rotary frequencies are half as many as its width."""
    frequencies = state[f"{stack}.0.self_attn.rotary.inv_freq"].shape[0]
    return width // (2 * frequencies), state[f"{stack}.0.ffn.w1.weight"].shape[0]


def _bits(vocabulary: int) -> int:
    bits = vocabulary.bit_length() - 1
    if vocabulary != 2**bits:
        raise ValueError(f"a vocabulary of {vocabulary}, no power of two")
    return bits


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"
