"""Which backend runs the networks."""

from typing import Literal, get_args

from kronos.errors import ConfigError
from kronos.forecast.backends.eager import EagerBackend
from kronos.forecast.backends.protocol import Backend
from kronos.model import PRECISIONS, Kronos, KronosTokenizer

BackendName = Literal["auto", "torch"]
BACKENDS: tuple[str, ...] = get_args(BackendName)


def check_backend(name: str, precision: str) -> None:
    """Refuse names that mean nothing, before any work is done."""
    for what, value, known in (("backend", name, BACKENDS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ConfigError(f"unknown {what} '{value}'; known are {', '.join(known)}")


def make_backend(name: str, network: Kronos, tokenizer: KronosTokenizer, precision: str = "float32") -> Backend:
    """The backend of this name over the networks' weights as they are now."""
    check_backend(name, precision)
    return EagerBackend(network, tokenizer, precision)
