"""The networks once more in C, built on the machine that runs them."""

from kronos.forecast.native.library import can_build, load_library, start_building

__all__ = ["can_build", "load_library", "start_building"]
