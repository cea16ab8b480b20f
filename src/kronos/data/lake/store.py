"""Whole files under names: a local folder, or any place that fsspec knows by URL (s3://, gs://, memory://, ...).

The three promises that the lake is built on: a file is never seen half written; `create` succeeds for one of several
writers; a name that was written is found by the next listing. It knows nothing of bars.
"""

import errno
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from kronos.errors import ConfigError, SourceError
from kronos.extras import require
from kronos.writing import replacing

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


class StoreError(SourceError):
    """The place itself fails: a full disk, a server that does not answer, credentials that are missing."""


class Store(Protocol):
    """Files by name, names with slashes, relative to one place."""

    @property
    def place(self) -> str:
        """The folder or URL, for messages."""
        ...

    def find(self, below: str = "") -> list[str]:
        """The names of all files below a folder, none where it does not exist."""
        ...

    def empty(self) -> bool:
        """True where nothing is there, without looking at everything."""
        ...

    def read(self, names: Iterable[str]) -> list[bytes]:
        """The contents of files; FileNotFoundError where one is gone."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that must not exist yet; False where it does: somebody else was first."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already are no error."""
        ...


def open_store(place: str | Path, **options: Any) -> Store:
    """The store at a path or URL; `options` go to fsspec (`endpoint_url=`, `key=`, ...)."""
    text = str(place)
    scheme, split, _ = text.partition("://")
    if not split or scheme in ("file", "local"):
        if options:
            raise ConfigError(f"{text}: a local folder takes no storage options ({', '.join(options)})")
        return LocalStore(Path(text.removeprefix(f"{scheme}://") if split else text))
    return RemoteStore(text, options)


class LocalStore:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        """Under this folder, which need not exist yet."""
        self.folder = Path(os.path.abspath(folder.expanduser()))
        self.place = str(self.folder)

    def find(self, below: str = "") -> list[str]:
        """All files below; temporary names of writers at work are not there yet."""
        found: list[str] = []
        for folder, folders, files in os.walk(self.folder / below):
            folders.sort()
            inside = Path(folder).relative_to(self.folder).as_posix()
            prefix = "" if inside == "." else inside + "/"
            found += [prefix + name for name in files if not name.startswith(".")]
        return found

    def empty(self) -> bool:
        """No entry at all."""
        with _named(self.place):
            return not self.folder.is_dir() or not any(self.folder.iterdir())

    def read(self, names: Iterable[str]) -> list[bytes]:
        """The contents, one after the other."""
        with _named(self.place):
            return [(self.folder / name).read_bytes() for name in names]

    def put(self, name: str, content: bytes) -> None:
        """Write beside and rename."""
        with _named(self.place):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                _write_through(temporary, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write beside, then link to the name, which fails where it exists and never shows half a file."""
        with _named(self.place):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            try:
                _write_through(temporary, content)
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _create_alone(path, content)
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def delete(self, names: Iterable[str]) -> None:
        """Unlink."""
        with _named(self.place):
            for name in names:
                (self.folder / name).unlink(missing_ok=True)


class RemoteStore:
    """A place that fsspec reaches."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        """Listings are never cached: another machine may have written since."""
        core = require("fsspec.core", extra="remote")
        shown = re.sub(r"://[^/@]*@", "://", url)  # a name and a password are not for messages and logs
        scheme = url.partition("://")[0]
        kept = {"use_listings_cache": False} if scheme not in ("memory",) else {}
        try:
            self.files, root = core.url_to_fs(url, **{**kept, **options})
        except ImportError as error:
            extra = "s3" if scheme in ("s3", "s3a") else None
            hint = f"run: pip install 'kronos-candles[{extra}]'" if extra else str(error)
            raise SourceError(f"{shown}: the package for {scheme}:// is not installed; {hint}") from error
        except OSError as error:
            raise StoreError(f"{shown}: cannot be reached ({' '.join(str(error).split())})") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{shown}: cannot be opened ({' '.join(str(error).split())})") from error
        self.place, self._root = shown, str(root).rstrip("/")

    def find(self, below: str = "") -> list[str]:
        """One listing of everything below."""
        with _named(self.place):
            self.files.invalidate_cache()
            try:
                found = self.files.find(self._full(below))
            except FileNotFoundError:
                return []
        return [str(name).removeprefix(self._root).lstrip("/") for name in found]

    def empty(self) -> bool:
        """No entry at all."""
        with _named(self.place):
            self.files.invalidate_cache()
            try:
                return not self.files.ls(self._root, detail=False)
            except FileNotFoundError:
                return True

    def read(self, names: Iterable[str]) -> list[bytes]:
        """All contents at once, in parallel where the file system can."""
        full = [self._full(name) for name in names]
        if not full:
            return []
        with _named(self.place):
            contents = self.files.cat(full)
        return [contents] if isinstance(contents, bytes) else [contents[_listed(contents, name)] for name in full]

    def put(self, name: str, content: bytes) -> None:
        """An object store shows an object when it is whole."""
        with _named(self.place):
            self.files.pipe_file(self._full(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """A conditional write, where the file system has one."""
        with _named(self.place):
            try:
                self.files.pipe_file(self._full(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def delete(self, names: Iterable[str]) -> None:
        """Remove the objects that are there."""
        with _named(self.place):
            for name in names:
                try:
                    self.files.rm_file(self._full(name))
                except FileNotFoundError:
                    continue

    def _full(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")


def _listed(contents: dict[str, bytes], name: str) -> str:
    """The spelling under which a file system returned `name`: some drop the leading slash."""
    return name if name in contents else next(key for key in contents if key.lstrip("/") == name.lstrip("/"))


def _create_alone(path: Path, content: bytes) -> bool:
    """Without links: the name is taken first, so one writer wins, but a kill may leave half a file."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _write_through(path: Path, content: bytes) -> None:
    """Write and wait for the disk: a name must not survive a power cut that its content did not."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Failures of the place, told as such; a file that is gone stays what it is, for callers who look again."""
    failures: tuple[type[Exception], ...] = (OSError, TimeoutError, *_errors_of_libraries())
    try:
        yield
    except FileNotFoundError:
        raise
    except failures as error:
        raise StoreError(f"{place}: cannot be read or written ({' '.join(str(error).split())})") from error


def _errors_of_libraries() -> tuple[type[Exception], ...]:
    """The root errors of what fsspec's file systems use underneath, as far as they have been loaded."""
    roots = {"botocore.exceptions": ("BotoCoreError", "ClientError"), "aiohttp": ("ClientError",)}
    loaded = [(sys.modules[module], names) for module, names in roots.items() if module in sys.modules]
    return tuple(getattr(module, name) for module, names in loaded for name in names)
