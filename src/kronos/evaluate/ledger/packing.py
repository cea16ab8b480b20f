"""Arrays as the bytes of a row, digests of arrays and of rows. Nothing here knows what a forecast is.

Bytes of equal weight are put side by side before they are compressed: signs and exponents of neighbours agree, and only
mantissas stay as large as they are. Digests are taken of the numbers, not of how they were compressed, where they say
what was stated, and of the bytes as they are stored where they say that nobody has touched a row.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.errors import SourceError


def pack(values: NDArray[Any]) -> bytes:
    """The numbers of an array, compressed; dtype and shape are kept elsewhere."""
    plain = _little(values)
    planes = np.frombuffer(plain.tobytes(), dtype=np.uint8).reshape(-1, plain.dtype.itemsize).T
    return zlib.compress(planes.tobytes(), 6)


def unpack(packed: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array that `pack` was given."""
    kind = np.dtype(dtype).newbyteorder("<")
    size = kind.itemsize * int(np.prod(shape))
    try:
        reader = zlib.decompressobj()
        plain = reader.decompress(packed, size + 1)  # never more than there should be
    except zlib.error as error:
        raise SourceError(f"a row of the ledger is damaged: its numbers cannot be unpacked ({error})") from error
    if len(plain) != size:
        raise SourceError(f"a row of the ledger is damaged: {len(plain)} bytes of numbers where {size} belong")
    planes = np.frombuffer(plain, dtype=np.uint8).reshape(kind.itemsize, -1)
    return np.frombuffer(planes.T.tobytes(), dtype=kind).reshape(shape).astype(np.dtype(dtype))


def digest_of(*arrays: NDArray[Any]) -> str:
    """A SHA-256 of arrays: their kinds, shapes and numbers, the same on every machine."""
    digest = hashlib.sha256()
    for values in arrays:
        plain = _little(values)
        digest.update(f"{plain.dtype.str} {plain.shape} ".encode())
        digest.update(plain.tobytes())
    return digest.hexdigest()


def digest_row(row: Mapping[str, Any]) -> str:
    """A SHA-256 of a row's columns by name; bytes enter by their own digest."""
    plain = {name: _plain(value) for name, value in row.items()}
    return hashlib.sha256(to_json(plain).encode()).hexdigest()


def to_json(value: Any) -> str:
    """JSON in exactly one spelling: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    return f"sha256:{hashlib.sha256(value).hexdigest()}" if isinstance(value, bytes | memoryview) else value


def _little(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
