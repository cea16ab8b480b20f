"""The only door to optional packages.

A module that needs one calls `require("ccxt", extra="exchange")` inside the function that uses it, so that importing
this package never imports an optional one, and its absence is one clear line instead of a traceback.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from kronos.errors import MissingExtra


def require(module: str, *, extra: str) -> ModuleType:
    """Import and return an optional `module`, or say which pip command brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there and one of its own imports failed: hiding that would mislead
        raise MissingExtra(
            f"this needs the package '{module}', which is not installed; run: pip install 'kronos-candles[{extra}]'"
        ) from error


@contextmanager
def without_its_deprecations() -> Iterator[None]:
    """What an optional package calls that its own dependencies deprecate is not our user's to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
