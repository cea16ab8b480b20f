"""Which backend runs the networks."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, get_args

from kronos.compiling import can_build
from kronos.errors import ConfigError, KronosWarning
from kronos.forecast.backends.eager import EagerBackend
from kronos.forecast.backends.native import NativeBackend
from kronos.forecast.backends.onnx import OnnxBackend
from kronos.forecast.backends.protocol import Backend
from kronos.model import PRECISIONS, Kronos, KronosTokenizer

BackendName = Literal["auto", "native", "torch", "onnx"]
BACKENDS: tuple[str, ...] = get_args(BackendName)


def check_backend(name: str, precision: str) -> None:
    """Refuse names that mean nothing, before any work is done."""
    for what, value, known in (("backend", name, BACKENDS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ConfigError(f"unknown {what} '{value}'; known are {', '.join(known)}")


def make_backend(name: str, network: Kronos, tokenizer: KronosTokenizer, precision: str = "float32") -> Backend:
    """The backend of this name over the networks' weights as they are now.

    "auto" is the fastest that there is: on a CPU "native" where there is a C compiler to build it with, else "onnx"
    where onnxruntime is installed; "torch" everywhere else.
    """
    check_backend(name, precision)
    if name == "auto":
        return _fastest(network, tokenizer, precision)
    return _KINDS[name](network, tokenizer, precision)


_KINDS: dict[str, Callable[[Kronos, KronosTokenizer, str], Backend]] = {
    "native": NativeBackend,
    "onnx": OnnxBackend,
    "torch": EagerBackend,
}


def _fastest(network: Kronos, tokenizer: KronosTokenizer, precision: str) -> Backend:
    on_cpu = next(network.parameters()).device.type == "cpu"
    if on_cpu and can_build():
        try:
            return NativeBackend(network, tokenizer, precision)
        except ConfigError as error:  # a compiler that is there and does not work: slower is better than nothing
            warnings.warn(f"forecasts will be slower: {error}", KronosWarning, stacklevel=2)
    if on_cpu and find_spec("onnxruntime") and find_spec("onnx"):
        return OnnxBackend(network, tokenizer, precision)
    return EagerBackend(network, tokenizer, precision)
