"""The bytes of a file, unpacked where it is compressed, and as UTF-8 text whatever wrote it."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO

from kronos.errors import SourceError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
MOST_BYTES = 2 << 30  # an archive may say it holds a little and unpack to fill the memory

# gb18030 is what Chinese spreadsheets and terminals export; the last reads what Windows wrote in western Europe
_ENCODINGS = ("utf-8", "gb18030", "cp1252")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def is_text(path: Path) -> bool:
    """True for the names of text files, packed or not."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in PACKED_SUFFIXES:
        return suffixes[-1] == ".zip" or (len(suffixes) == 2 and suffixes[0] in TEXT_SUFFIXES)
    return bool(suffixes) and suffixes[-1] in TEXT_SUFFIXES


def holds_texts(path: Path) -> bool:
    """True for a zip archive of text files, and for one that is broken, so that it is not passed over in silence."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive)
    except (OSError, zipfile.BadZipFile):
        return True
    return bool(names) and all(Path(name).suffix.lower() in TEXT_SUFFIXES for name in names)


def read_text_bytes(path: Path) -> bytes:
    """The text in a file as UTF-8 without a byte order mark, its lines ended by a line feed."""
    try:
        raw = _unpacked(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise SourceError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    text = _as_utf8(raw, path)
    if b"\x00" in text:
        raise SourceError(f"{path}: cannot be read (it holds zero bytes: this is no text)")
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def _unpacked(path: Path) -> bytes:
    kind = path.suffix.lower()
    if kind == ".zip":
        return _unzipped(path)
    if kind not in PACKED_SUFFIXES:
        return path.read_bytes()
    opened: IO[bytes]
    with {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[kind](path, "rb") as opened:  # type: ignore[operator]
        return _at_most(opened, path)


def _unzipped(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        names = _members(archive)
        if len(names) != 1:
            raise SourceError(f"{path}: holds {len(names)} files where one table is expected; unpack it")
        if archive.getinfo(names[0]).flag_bits & 1:
            raise SourceError(f"{path}: is encrypted; unpack it")
        if Path(names[0]).suffix.lower() not in TEXT_SUFFIXES:
            raise SourceError(f"{path}: holds '{names[0]}', which is no text; unpack it")
        with archive.open(names[0]) as opened:
            return _at_most(opened, path)


def _members(archive: zipfile.ZipFile) -> list[str]:
    """The files in an archive but for what macOS adds."""
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]


def _at_most(opened: IO[bytes], path: Path) -> bytes:
    content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise SourceError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB; unpack and split it")
    return content


def _as_utf8(raw: bytes, path: Path) -> bytes:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return raw.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise SourceError(f"{path}: cannot be read (it is marked as {encoding} and is not: {error})") from error
    for encoding in _ENCODINGS:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return raw if encoding == "utf-8" else text.encode()
    raise SourceError(f"{path}: cannot be read (the text is in none of {', '.join(_ENCODINGS)})")
