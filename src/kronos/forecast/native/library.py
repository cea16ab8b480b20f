"""The C library's functions and structs, as ctypes knows them; the sources lie beside this file."""

import ctypes
from functools import cache
from pathlib import Path

from kronos.compiling import Build
from kronos.errors import ConfigError

SOURCES = Path(__file__).parent


class Linear(ctypes.Structure):
    """`linear` in matmul.h."""

    _fields_ = (
        ("n", ctypes.c_int),
        ("k", ctypes.c_int),
        ("type", ctypes.c_int),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
    )


class Block(ctypes.Structure):
    """`block` in blocks.h."""

    _fields_ = tuple((name, Linear) for name in ("qkv", "out", "gate", "down"))


class Stack(ctypes.Structure):
    """`stack` in blocks.h."""

    _fields_ = (
        ("count", ctypes.c_int),
        ("width", ctypes.c_int),
        ("hidden", ctypes.c_int),
        ("heads", ctypes.c_int),
        ("eps", ctypes.c_float),
        ("blocks", ctypes.POINTER(Block)),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
    )


class LayerCache(ctypes.Structure):
    """`layer_cache` in attention.h."""

    _fields_ = (
        ("heads", ctypes.c_int),
        ("width", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("shared_keys", "shared_values", "own_keys", "own_values")),
    )


class Cache(ctypes.Structure):
    """`cache` in attention.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("paths", "filled", "limit", "shared_room", "own_room")),
        ("lengths", ctypes.c_void_p),
        ("layers", ctypes.POINTER(LayerCache)),
    )


class Work(ctypes.Structure):
    """`work` in blocks.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "normed", "joint", "heard", "hidden", "scratch")),
        ("scratch_size", ctypes.c_size_t),
    )


class Network(ctypes.Structure):
    """`network` in kronos.c."""

    _fields_ = (
        ("blocks", Stack),
        *((name, ctypes.c_int) for name in ("s1_size", "s2_size", "trained")),
        *((name, ctypes.c_void_p) for name in ("s1_table", "s2_table", "query_table", "norm", "dep_norm")),
        *((name, Linear) for name in ("dep_kv", "dep_out", "head_s1", "head_s2")),
        ("dep_cosines", ctypes.c_void_p),
        ("dep_sines", ctypes.c_void_p),
    )


class Tokenizer(ctypes.Structure):
    """`tokenizer` in kronos.c."""

    _fields_ = (
        ("encoder", Stack),
        ("decoder", Stack),
        *((name, ctypes.c_int) for name in ("inputs", "s1_bits", "s2_bits")),
        *((name, Linear) for name in ("embed", "to_bits", "from_bits", "head")),
    )


class SamplerStruct(ctypes.Structure):
    """`sampler` in sampling.h."""

    _fields_ = (
        ("temperature", ctypes.c_float),
        ("top_p", ctypes.c_float),
        ("top_k", ctypes.c_int),
        ("greedy", ctypes.c_int),
    )


_INT, _SIZE, _AT = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
_SIGNATURES = {
    "kronos_panel": ([], _INT),
    "kronos_pack": ([_AT, _INT, _INT, _INT, _INT, _INT, _AT], None),
    "kronos_choose": ([_AT, _INT, _INT, _AT, _AT, _AT, _AT], None),
    "kronos_scratch": ([_INT, _INT, _INT, _INT, _INT], _SIZE),
    "kronos_read": ([_AT, _AT, _AT, _INT, _INT, _AT, _AT, _AT, _AT], None),
    "kronos_next": (
        [_AT, _AT, _AT, _INT, _INT, _INT, _AT, _AT, _AT, _SIZE, _AT, _AT, _AT, _AT, _SIZE, _AT, _AT],
        None,
    ),
    "kronos_encode": ([_AT, _AT, _AT, _INT, _INT, _AT, _AT, _AT, _AT], None),
    "kronos_decode": ([_AT, _AT, _AT, _INT, _INT, _INT, _AT, _AT, _AT, _AT], None),
}


@cache
def load_library() -> ctypes.CDLL:
    """The library with the types of its functions, built if need be."""
    path = Build.of(SOURCES).finished()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ConfigError(f'the C library of backend "native" cannot be loaded: {error}') from error
    for name, (arguments, result) in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library
