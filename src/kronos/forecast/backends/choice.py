"""Which backend runs the networks."""

from typing import Literal, get_args

from kronos.compiling import can_build
from kronos.errors import ConfigError
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

    "auto" is "native" on a CPU where there is a C compiler to build it with, and "torch" elsewhere.
    """
    check_backend(name, precision)
    if name == "auto":
        name = "native" if next(network.parameters()).device.type == "cpu" and can_build() else "torch"
    if name == "native":
        return NativeBackend(network, tokenizer, precision)
    if name == "onnx":
        return OnnxBackend(network, tokenizer, precision)
    return EagerBackend(network, tokenizer, precision)
