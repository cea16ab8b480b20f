"""Builds the C library with the machine's own compiler, once, and loads it.

The library lies in the user's cache folder under a name that tells its sources, its flags and the processor it was
built for; another machine on the same home folder builds its own. It uses the OpenMP that torch has loaded already: two
of them in one process would fight over the cores.
"""

import ctypes
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

_SOURCES = Path(__file__).parent
_FLAGS = ("-O2", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-fvisibility=hidden", "-std=gnu11")


class Linear(ctypes.Structure):
    """`linear` in matmul.h."""

    _fields_ = (
        ("n", ctypes.c_int),
        ("k", ctypes.c_int),
        ("type", ctypes.c_int),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
    )


class Block(ctypes.Structure):
    """`block` in blocks.h."""

    _fields_ = tuple((name, Linear) for name in ("qkv", "out", "gate", "down"))


class Stack(ctypes.Structure):
    """`stack` in blocks.h."""

    _fields_ = (
        ("count", ctypes.c_int),
        ("width", ctypes.c_int),
        ("hidden", ctypes.c_int),
        ("heads", ctypes.c_int),
        ("eps", ctypes.c_float),
        ("blocks", ctypes.POINTER(Block)),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
    )


class LayerCache(ctypes.Structure):
    """`layer_cache` in attention.h."""

    _fields_ = (
        ("heads", ctypes.c_int),
        ("width", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("shared_keys", "shared_values", "own_keys", "own_values")),
    )


class Cache(ctypes.Structure):
    """`cache` in attention.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("paths", "filled", "limit", "shared_room", "own_room")),
        ("lengths", ctypes.c_void_p),
        ("layers", ctypes.POINTER(LayerCache)),
    )


class Work(ctypes.Structure):
    """`work` in blocks.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "normed", "joint", "heard", "hidden", "scratch")),
        ("scratch_size", ctypes.c_size_t),
    )


class Network(ctypes.Structure):
    """`network` in kronos.c."""

    _fields_ = (
        ("blocks", Stack),
        *((name, ctypes.c_int) for name in ("s1_size", "s2_size", "trained")),
        *((name, ctypes.c_void_p) for name in ("s1_table", "s2_table", "query_table", "norm", "dep_norm")),
        *((name, Linear) for name in ("dep_kv", "dep_out", "head_s1", "head_s2")),
        ("dep_cosines", ctypes.c_void_p),
        ("dep_sines", ctypes.c_void_p),
    )


class Tokenizer(ctypes.Structure):
    """`tokenizer` in kronos.c."""

    _fields_ = (
        ("encoder", Stack),
        ("decoder", Stack),
        *((name, ctypes.c_int) for name in ("inputs", "s1_bits", "s2_bits")),
        *((name, Linear) for name in ("embed", "to_bits", "from_bits", "head")),
    )


class SamplerStruct(ctypes.Structure):
    """`sampler` in sampling.h."""

    _fields_ = (
        ("temperature", ctypes.c_float),
        ("top_p", ctypes.c_float),
        ("top_k", ctypes.c_int),
        ("greedy", ctypes.c_int),
    )


_INT, _SIZE, _AT = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
_SIGNATURES = {
    "kronos_panel": ([], _INT),
    "kronos_pack": ([_AT, _INT, _INT, _INT, _INT, _INT, _AT], None),
    "kronos_scratch": ([_INT, _INT, _INT, _INT, _INT], _SIZE),
    "kronos_read": ([_AT, _AT, _AT, _INT, _INT, _AT, _AT, _AT, _AT], None),
    "kronos_next": (
        [_AT, _AT, _AT, _INT, _INT, _INT, _AT, _AT, _AT, _SIZE, _AT, _AT, _AT, _AT, _SIZE, _AT, _AT],
        None,
    ),
    "kronos_encode": ([_AT, _AT, _AT, _INT, _INT, _AT, _AT, _AT, _AT], None),
    "kronos_decode": ([_AT, _AT, _AT, _INT, _INT, _INT, _AT, _AT, _AT, _AT], None),
}


@cache
def compiler() -> str | None:
    """The C compiler: the one that CC names, else the first of the usual ones."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def can_build() -> bool:
    """Whether this machine can build the library, or refuses it only for reasons that an error should name."""
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
    """The library, there already or being built in a thread of its own."""

    def __init__(self) -> None:
        """Begin to build unless it is there; needs neither torch nor numpy, so it can run while they load."""
        found = compiler()
        if found is None or os.name != "posix":
            raise ConfigError(
                'the backend "native" needs a C compiler (gcc or clang) and there is none on the PATH; '
                'install one, name it in the variable CC, or choose backend="torch"'
            )
        self._compiler, self._reason = found, ""
        self.path = _folder() / f"native-{_fingerprint(found)}.so"
        self._thread = threading.Thread(target=self._build, name="kronos-build")
        if not self.path.exists():
            self._thread.start()

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
            made, parts = Path(folder) / "kronos.so", Path(folder) / "kronos.o"
            # linked without -fopenmp: the functions it means are found in the OpenMP that torch brings
            together = [["-fopenmp", "-c", str(_SOURCES / "kronos.c"), "-o", str(parts)], ["-shared", str(parts)]]
            alone = [["-c", str(_SOURCES / "kronos.c"), "-o", str(parts)], ["-shared", str(parts)]]
            for compiling, linking in [together, alone] if sys.platform == "linux" else [alone]:
                for step in ([*_FLAGS, *compiling], [*linking, "-lm", "-o", str(made)]):
                    done = subprocess.run([self._compiler, *step], capture_output=True, text=True, check=False)
                    if done.returncode:
                        break
                else:
                    made.replace(self.path)
                    return
                self._reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())


def _folder() -> Path:
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


def _fingerprint(found: str) -> str:
    """Of all that a built library depends on: sources, flags, compiler and processor."""
    digest = hashlib.blake2b(digest_size=12)
    for source in sorted([*_SOURCES.glob("*.c"), *_SOURCES.glob("*.h")]):
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


@cache
def start_building() -> Build:
    """The one build of this process."""
    return Build()


@cache
def load_library() -> ctypes.CDLL:
    """The library with the types of its functions."""
    import torch  # its OpenMP must be there first  # noqa: F401

    path = start_building().finished()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ConfigError(f'the C library of backend "native" cannot be loaded: {error}') from error
    for name, (arguments, result) in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library
