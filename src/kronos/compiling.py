"""Builds a C library with the machine's own compiler, once, beside whatever else is going on.

A library lies in the user's cache folder under a name that tells its sources, its flags, the compiler and the
processor; another machine on the same home folder builds its own.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

from kronos.errors import ConfigError

_FLAGS = (
    *("-std=gnu11", "-O2", "-march=native", "-fno-math-errno", "-fno-trapping-math"),
    *("-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
)


@cache
def compiler() -> str | None:
    """The C compiler: the one that CC names, else the first of the usual ones."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def can_build() -> bool:
    """Whether there is a compiler that this module knows how to call."""
    return os.name == "posix" and compiler() is not None


def cache_folder() -> Path:
    """Where built libraries lie: KRONOS_CACHE, else the user's cache folder."""
    own = os.environ.get("KRONOS_CACHE")
    if own:
        return Path(own)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kronos"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kronos"


class Build:
    """A library, there already or being built in a thread of its own.

    It needs neither torch nor numpy, so it can run while they load. The folder holds the sources; the file that is
    compiled is called `kronos.c`.
    """

    def __init__(self, folder: Path) -> None:
        """Begin to build unless it is there."""
        found = compiler()
        if found is None or os.name != "posix":
            raise ConfigError(
                'the backend "native" needs a C compiler (gcc or clang) and there is none on the PATH; '
                'install one, name it in the variable CC, or choose backend="torch"'
            )
        self._compiler, self._source, self._reason = found, folder / "kronos.c", ""
        self.path = _writable() / f"native-{_fingerprint(found, folder)}.so"
        self._thread = threading.Thread(target=self._build, name="kronos-build")
        if not self.path.exists():
            self._thread.start()

    @staticmethod
    @cache
    def of(folder: Path) -> "Build":
        """The one build of these sources in this process."""
        return Build(folder)

    def finished(self) -> Path:
        """The library's path, once it is there."""
        if self._thread.ident is not None:
            self._thread.join()
        if not self.path.exists():
            raise ConfigError(
                f'the C library of backend "native" could not be built with {self._compiler}: {self._reason}; '
                'choose backend="torch"'
            )
        return self.path

    def _build(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            made = Path(folder) / "kronos.so"
            command = [self._compiler, *_FLAGS, str(self._source), "-lm", "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                made.replace(self.path)  # whoever else builds it at the same time builds the same
            else:
                self._reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())


def _writable() -> Path:
    """The cache folder, or one that lasts as long as the machine is up where that cannot be written."""
    wanted = cache_folder()
    try:
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(wanted, os.W_OK):
            return wanted
    except OSError:
        pass
    other = Path(tempfile.gettempdir()) / f"kronos-{os.getuid()}"
    other.mkdir(exist_ok=True, mode=0o700)
    if other.stat().st_uid != os.getuid():
        raise ConfigError(f"{other} belongs to somebody else; name a folder for built libraries in KRONOS_CACHE")
    return other


def _fingerprint(found: str, folder: Path) -> str:
    """Of all that a built library depends on: sources, flags, compiler and processor."""
    digest = hashlib.blake2b(digest_size=12)
    for source in sorted([*folder.glob("*.c"), *folder.glob("*.h")]):
        digest.update(source.read_bytes())
    stamp = Path(found).resolve().stat()
    digest.update(repr((_FLAGS, found, stamp.st_size, int(stamp.st_mtime), platform.machine(), _processor())).encode())
    return digest.hexdigest()


def _processor() -> str:
    """What the processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
