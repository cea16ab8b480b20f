"""Files and folders appear whole or not at all: the one way this package writes them."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when the block succeeds and vanishes when it fails."""
    if not path.parent.is_dir():  # said here, or the error would name the temporary file
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(place: Path) -> Iterator[Path]:
    """A new folder that takes the place when the block succeeds and vanishes when it fails."""
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        if not place.exists():
            os.rename(temporary, place)
            return
        away = temporary.with_suffix(".old")  # two renames: a folder that is not empty cannot be renamed over
        os.rename(place, away)
        try:
            os.rename(temporary, place)
        except OSError:
            os.rename(away, place)
            raise
        shutil.rmtree(away)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
