"""Binance's archive of monthly and daily zips, from a local folder: BTCUSDT-1h-2024-01.zip, BTCUSDT-1h-2024-01-15.zip.

A zip is read in memory, up to the size that its bars can have, and nothing is ever unpacked to disk. Days fill up what
the months lack. Times are milliseconds, and microseconds in the spot market since 2025; each is read as what it is.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.data.sources.rows import Ints, frame_of, nearest
from kronos.errors import SourceError

Market = Literal["spot", "usdm"]

# of twelve: opening time, open, high, low, close, volume, closing time, quote volume, trades, two taker volumes, unused
_FIELDS = 12
_PLACES = (0, 1, 2, 3, 4, 5, 7)
_ROW_BYTES = 400  # a row has 100 to 180
_MICROSECONDS = 10**14  # as milliseconds this is the year 5138
_CONTRACT_SIZED = re.compile(r".+USD_(PERP|\d{6})")
_QUOTES = (
    "USDT", "FDUSD", "USDC", "TUSD", "BUSD", "USDP", "USDS", "USD1", "AEUR", "EURI", "BIDR", "IDRT", "BVND", "BKRW",
    "DOGE", "BTC", "ETH", "BNB", "XRP", "TRX", "SOL", "DOT", "DAI", "VAI", "PAX", "UST", "USD", "EUR", "GBP", "TRY",
    "BRL", "AUD", "JPY", "RUB", "UAH", "NGN", "ZAR", "ARS", "MXN", "PLN", "RON", "CZK", "COP",
)  # fmt: skip


@dataclass(frozen=True)
class Archived:
    """All bars of one symbol and timeframe in an archive."""

    market: Market
    symbol: str
    timeframe: str
    frame: pd.DataFrame
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    """What the user should know: months or days that are missing between the first and the last."""

    @property
    def source(self) -> str:
        """The source's part of a lake's key, that of the same bars from the exchange itself."""
        return "binance" if self.market == "spot" else "binance-usdm"


@dataclass(frozen=True)
class _Zip:
    path: Path
    market: Market | None  # None where the folders do not tell
    name: str
    timeframe: Timeframe
    month: pd.Period
    day: pd.Period | None

    @classmethod
    def of(cls, path: Path) -> "_Zip | None":
        """What the name says, None where it is no file of the archive."""
        found = re.fullmatch(r"([^-]+)-(\d+(?:s|m|h|d|w|mo|M))-(\d{4})-(\d\d)(?:-(\d\d))?", path.stem)
        if found is None or path.suffix.lower() != ".zip":
            return None
        name, timeframe, year, month, day = found.groups()
        try:
            date = None if day is None else pd.Period(f"{year}-{month}-{day}", freq="D")
            return cls(
                path,
                _market_of(path),
                name.upper(),
                Timeframe.parse(timeframe),
                pd.Period(f"{year}-{month}", "M"),
                date,
            )
        except ValueError:  # a thirteenth month
            return None


def is_archive(place: str | Path) -> bool:
    """True for a zip of the archive, and for a folder that holds such zips and no other data."""
    place = Path(place)
    if place.is_file():
        return _Zip.of(place) is not None
    files = [path for path in place.rglob("*") if path.is_file() and not path.name.startswith(".")]
    data = [path for path in files if path.suffix.upper() not in (".CHECKSUM", ".MD", "")]
    return bool(data) and all(_Zip.of(path) is not None for path in data)


def archived_series(place: str | Path) -> list[tuple[str, Timeframe]]:
    """Whose zips are there, by the exchange's names."""
    return sorted({(one.name, one.timeframe) for one in _find(Path(place))})


def read_archive(
    place: str | Path,
    *,
    symbol: str | None = None,
    timeframe: str | Timeframe | None = None,
    market: Market | None = None,
) -> Iterator[Archived]:
    """Every series in a folder of archive zips (or in one of them), one symbol and timeframe after the other.

    `symbol` and `timeframe` choose. `market` says what the zips hold where neither the folders (spot, futures/um) nor
    a header line do; without a sign of either it is the spot market.
    """
    place = Path(place)
    zips = _find(place)
    wanted = None if timeframe is None else Timeframe.parse(timeframe)
    chosen = [
        one
        for one in zips
        if wanted in (None, one.timeframe) and (symbol is None or _plain(symbol) == _plain(one.name))
    ]
    if not chosen:
        names = sorted({f"{one.name} {one.timeframe}" for one in zips})
        near = "" if symbol is None else nearest(_plain(symbol), {one.name: one.name for one in zips})
        asked = " ".join(str(part) for part in (symbol, wanted) if part is not None)
        raise SourceError(f"{place}: holds no {asked}, but {', '.join(names[:8])}{', ...' * (len(names) > 8)}{near}")
    groups: dict[tuple[str, str, Timeframe], list[_Zip]] = {}
    for one in chosen:
        groups.setdefault((one.market or "", one.name, one.timeframe), []).append(one)
    for _, group in sorted(groups.items()):
        yield _read_group(group, market)


def split_symbol(name: str, market: Market = "spot") -> str:
    """BTCUSDT as a lake's key spells it: "BTC/USDT", "BTC/USDT:USDT" for a perpetual contract; else as it stands."""
    if "_" in name:
        return name
    quote = next((one for one in _QUOTES if name.endswith(one) and len(name) > len(one)), None)
    if quote is None:
        return name
    pair = f"{name.removesuffix(quote)}/{quote}"
    return pair if market == "spot" else f"{pair}:{quote}"


def _find(place: Path) -> list[_Zip]:
    if not place.exists():
        raise SourceError(f"{place}: no such file or folder")
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    found = [one for path in paths if (one := _Zip.of(path)) is not None]
    if not found:
        raise SourceError(f"{place}: holds no archive of Binance (such as BTCUSDT-1h-2024-01.zip)")
    return found


def _market_of(path: Path) -> Market | None:
    parts = [part.lower() for part in path.parts[:-1]]
    if "futures" in parts and "um" in parts[parts.index("futures") :]:
        return "usdm"
    return "spot" if "spot" in parts else None


def _plain(symbol: str) -> str:
    """BTC/USDT and BTC/USDT:USDT as the archive writes them."""
    return re.sub(r"[^\w]", "", symbol.partition(":")[0]).upper()


# --- one series -------------------------------------------------------------------------------------------------------


def _read_group(group: list[_Zip], market: Market | None) -> Archived:
    """Months first, so that they win over days that hold the same bars."""
    months = sorted((one for one in group if one.day is None), key=lambda one: (one.month, one.path))
    days = sorted((one for one in group if one.day is not None), key=lambda one: (one.day, one.path))
    first = group[0]
    if _CONTRACT_SIZED.fullmatch(first.name):
        raise SourceError(f"{first.path}: a coin-margined contract counts its volume in contracts; it is not read")
    frames, headers = [], False
    for one in (*months, *days):
        frame, header = _read_zip(one)
        frames.append(frame)
        headers |= header
    whole = pd.concat(frames)
    whole = whole[~whole.index.duplicated(keep="first")].sort_index()
    kind: Market = first.market or market or ("usdm" if headers else "spot")
    return Archived(
        market=kind,
        symbol=split_symbol(first.name, kind),
        timeframe=str(first.timeframe),
        frame=whole,
        files=tuple(one.path for one in (*months, *days)),
        notes=tuple(_missing(months, days)),
    )


def _missing(months: Iterable[_Zip], days: Iterable[_Zip]) -> Iterator[str]:
    """Months between the first and the last that are not there; days, where some of a month are."""
    whole = {one.month for one in months}
    single = {one.day for one in days if one.day is not None and one.month not in whole}
    covered = whole | {day.asfreq("M") for day in single}
    wanted = pd.period_range(min(covered), max(covered), freq="M")
    if gone := [month for month in wanted if month not in covered]:
        yield f"{len(gone)} months are missing: {_listed(gone)}"
    first = min({month.asfreq("D", "start") for month in whole} | single)
    last = max({month.asfreq("D", "end") for month in whole} | single)
    partly = [month for month in wanted if month in covered - whole]
    lacking = [
        day
        for month in partly
        for day in pd.period_range(month.asfreq("D", "start"), month.asfreq("D", "end"), freq="D")
        if first <= day <= last and day not in single
    ]
    if lacking:
        yield f"{len(lacking)} days are missing: {_listed(lacking)}"


def _listed(periods: list[pd.Period]) -> str:
    names = [str(period) for period in periods]
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ... {names[-1]}"


# --- one zip ----------------------------------------------------------------------------------------------------------


def _read_zip(one: _Zip) -> tuple[pd.DataFrame, bool]:
    """The bars of one file, and whether it has a header line."""
    try:
        content = one.path.read_bytes()
    except OSError as error:
        raise SourceError(f"{one.path}: cannot be read ({error.strerror or error})") from error
    _verify(one.path, content)
    text = _unpacked(one, content)
    header = text[:1].isalpha()
    table = _table(one.path, text, header)
    times = table[0].to_numpy(dtype=np.int64)
    times = np.where(times >= _MICROSECONDS, times // 1000, times)
    _refuse_strangers(one, times, header)
    frame = frame_of(times, table[list(_PLACES[1:])].to_numpy(dtype=np.float64))
    return frame[~frame.index.duplicated(keep="first")].sort_index(), header


def _verify(path: Path, content: bytes) -> None:
    """Compare with the SHA-256 in BTCUSDT-1h-2024-01.zip.CHECKSUM, where that lies beside it."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if not beside.is_file():
        return
    words = beside.read_text(encoding="utf-8", errors="replace").split()
    if not words or re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) is None:
        raise SourceError(f"{beside}: holds no SHA-256; download it again or remove it")
    if hashlib.sha256(content).hexdigest() != words[0].lower():
        raise SourceError(f"{path}: differs from its checksum in {beside.name}; download it again")


def _unpacked(one: _Zip, content: bytes) -> bytes:
    """The one CSV in a zip; a file that grows beyond what its bars can take is refused before it fills the memory."""
    span = pd.Timedelta(days=1 if one.day is not None else 31)
    limit = (int(span / one.timeframe.delta) + 2) * _ROW_BYTES + 4096
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1 or not members[0].filename.lower().endswith(".csv"):
                names = ", ".join(repr(info.filename) for info in members[:3]) or "nothing"
                raise SourceError(f"{one.path}: holds {names}; an archive zip holds one CSV file")
            with archive.open(members[0]) as member:
                text = member.read(limit + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise SourceError(
            f"{one.path}: the zip is damaged ({' '.join(str(error).split())}); download it again"
        ) from error
    if len(text) > limit:
        raise SourceError(f"{one.path}: unpacks to more than {limit} bytes, which are no {one.timeframe} bars")
    return text


def _table(path: Path, text: bytes, header: bool) -> pd.DataFrame:
    """Opening times as whole numbers and the numbers wanted, or an error that names the line."""
    try:
        table = pd.read_csv(io.BytesIO(text), header=None, skiprows=int(header))
    except (ValueError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise SourceError(f"{path}: {_first_bad_line(text, header) or ' '.join(str(error).split())}") from error
    if len(table.columns) == _FIELDS and table.dtypes[0] == np.int64:
        wanted = table[list(_PLACES)]
        numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in wanted.dtypes)
        if numeric and np.isfinite(wanted.to_numpy(dtype=np.float64)).all():
            return wanted
    raise SourceError(f"{path}: {_first_bad_line(text, header) or 'holds no rows of bars'}")


def _first_bad_line(text: bytes, header: bool) -> str:
    """In words what is wrong with the first line that is no bar; empty where all of them are."""
    for number, line in enumerate(text.decode("utf-8", errors="replace").splitlines(), start=1):
        cells = line.split(",")
        if not line.strip() or (header and number == 1):
            continue
        if len(cells) != _FIELDS:
            return f"line {number} has {len(cells)} fields instead of {_FIELDS}; download the file again"
        for place in _PLACES:
            if not re.fullmatch(r"\d+" if place == 0 else r"\d+(\.\d*)?([eE][-+]?\d+)?", cells[place].strip()):
                return f"line {number}, field {place + 1}: {cells[place][:40]!r} is no number; download the file again"
    return ""


def _refuse_strangers(one: _Zip, times: Ints, header: bool) -> None:
    """A bar of another month or day has no business in the file."""
    period = one.day or one.month
    # a bar of a week or three days may begin in one month and end in the next
    slack = 0 if one.timeframe.intraday else one.timeframe.nanoseconds // 1_000_000
    low = period.start_time.as_unit("ns").value // 1_000_000 - slack
    high = (period + 1).start_time.as_unit("ns").value // 1_000_000 + slack
    wrong = (times < low) | (times >= high)
    if wrong.any():
        line = int(wrong.argmax()) + 1 + header
        raise SourceError(f"{one.path}: line {line}: the time {times[wrong.argmax()]} ms does not lie in {period}")
