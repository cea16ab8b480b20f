"""Several files that belong together take their place together."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_set(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """An empty folder in which to write all of `names`; they replace those in `folder` when the block succeeds.

    The old files go before the first new one comes, the last of `names` first, and it comes last: a run that is killed
    leaves the old set or one whose last file is missing, never a mixture that looks whole.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    stage = folder / f".{secrets.token_hex(4)}.tmp"
    stage.mkdir()
    try:
        yield stage
        for name in reversed(names):
            (folder / name).unlink(missing_ok=True)
        for name in names:
            os.replace(stage / name, folder / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()
