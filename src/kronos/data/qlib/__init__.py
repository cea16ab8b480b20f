"""Qlib's data folders, read and written without Qlib: the names that other files use."""

from kronos.data.qlib.names import qlib_code, qlib_frequency
from kronos.data.qlib.read import QlibFolder, QlibSeries, is_qlib, read_qlib
from kronos.data.qlib.write import QlibWritten, write_qlib

__all__ = [
    "QlibFolder",
    "QlibSeries",
    "QlibWritten",
    "is_qlib",
    "qlib_code",
    "qlib_frequency",
    "read_qlib",
    "write_qlib",
]
