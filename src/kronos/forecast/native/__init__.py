"""The networks once more in C, built on the machine that runs them."""

from kronos.forecast.native.library import SOURCES, load_library

__all__ = ["SOURCES", "load_library"]
