"""What runs the networks while a forecast is written."""

from kronos.forecast.backends.choice import BACKENDS, BackendName, check_backend, make_backend
from kronos.forecast.backends.protocol import Backend, Lookback, Writer

__all__ = ["BACKENDS", "Backend", "BackendName", "Lookback", "Writer", "check_backend", "make_backend"]
