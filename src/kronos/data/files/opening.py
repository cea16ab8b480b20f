"""The bytes of a file, unpacked where it is compressed, and as UTF-8 text whatever wrote it."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO

from kronos.errors import SourceError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zip")

# An archive of a few kilobytes may unpack to fill the memory, and reading bars takes several times the text. Texts of
# bars shrink 3 to 20 times; repeated lines shrink more, which is no matter where they are small.
MOST_BYTES = 512 << 20
MOST_TIMES, SMALL_BYTES = 200, 64 << 20
_PIECE = 1 << 20

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
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise SourceError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    raw = _as_utf8(raw, path)
    if b"\x00" in raw:
        raise SourceError(f"{path}: cannot be read (it holds zero bytes: this is no text)")
    if b"\r" in raw:  # one name for every form of the text, so that each is let go when the next is made
        raw = raw.replace(b"\r\n", b"\n")
        raw = raw.replace(b"\r", b"\n") if b"\r" in raw else raw
    return raw


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
    """All of an opened archive, piece by piece, as far as the limits allow."""
    shrunk = max(MOST_TIMES * path.stat().st_size, SMALL_BYTES)
    content = io.BytesIO()
    while piece := opened.read(_PIECE):
        content.write(piece)
        if content.tell() > MOST_BYTES:
            raise SourceError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB; unpack it yourself, or split it")
        if content.tell() > shrunk:
            raise SourceError(
                f"{path}: unpacks to more than {MOST_TIMES} times its size, as no text of bars does; "
                "unpack it yourself if it is one"
            )
    return content.getvalue()


def _as_utf8(raw: bytes, path: Path) -> bytes:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return _recoded(raw, encoding)
            except UnicodeError as error:
                why = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
                raise SourceError(f"{path}: cannot be read (it is marked as {encoding} and is not: {why})") from error
    if raw.isascii():
        return raw
    for encoding in _ENCODINGS:
        try:
            return _recoded(raw, encoding)
        except UnicodeError:
            continue
    raise SourceError(f"{path}: cannot be read (the text is in none of {', '.join(_ENCODINGS)})")


def _recoded(raw: bytes, encoding: str) -> bytes:
    """The text in UTF-8, decoded piece by piece: the whole as characters may take four times the file."""
    decoder = codecs.getincrementaldecoder(encoding)()
    made = io.BytesIO()
    for start in range(0, len(raw), _PIECE):
        text = decoder.decode(raw[start : start + _PIECE])
        if encoding != "utf-8":
            made.write(text.encode())
    text = decoder.decode(b"", final=True)
    if encoding == "utf-8":
        return raw
    made.write(text.encode())
    return made.getvalue()
