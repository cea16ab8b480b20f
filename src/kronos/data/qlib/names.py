"""Names in a Qlib folder: codes of symbols, their folders, frequencies, and the note that keeps our own spellings.

Qlib knows a symbol by a code in capitals (SH600000, BTC_USDT), whose folder is the code in small letters. A code does
not always tell how the symbol was spelled, nor do Qlib's times tell their zone: both go into `kronos.json` beside the
data, a file that Qlib does not look at. Knows nothing of bars.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from kronos.bars import Timeframe
from kronos.errors import ConfigError, SourceError

Spelling = Literal["qlib", "suffix", "prefix"]

NOTE = "kronos.json"

_EXCHANGES = {"sh": "SH", "ss": "SH", "xshg": "SH", "sz": "SZ", "xshe": "SZ", "bj": "BJ"}
_PREFIXED = re.compile(r"(sh|sz|bj)[._-]?(\d{6})", re.IGNORECASE)
_SUFFIXED = re.compile(r"(\d{6})[._-](sh|ss|xshg|sz|xshe|bj)", re.IGNORECASE)
_CHINESE = re.compile(r"(SH|SZ|BJ)(\d{6})")
# Windows cannot name a file so; Qlib puts a prefix before the folder
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
_PREFIX = "_qlib_"
_MISSING = ("NA", "NULL")  # Qlib reads instrument lists with pandas, which takes these for no value


def qlib_code(symbol: str) -> str:
    """The code of a symbol: SH600000 for 600000.SH, sh.600000 or 600000.XSHG, BTC_USDT for BTC/USDT.

    Signs that are no part of a file's name become underscores, so two symbols may share a code.
    """
    if found := _PREFIXED.fullmatch(symbol):
        return found[1].upper() + found[2]
    if found := _SUFFIXED.fullmatch(symbol):
        return _EXCHANGES[found[2].lower()] + found[1]
    code = "".join(sign if _is_plain(sign) else "_" for sign in symbol).upper()
    code = re.sub(r"^\.", "_", code)  # a hidden folder, or a step up
    if not any(sign.isalnum() for sign in code):
        raise ConfigError(f"{symbol!r} cannot be a symbol in a Qlib folder: it holds no letter and no digit")
    return code + "_" if code in _MISSING else code


def spelled(code: str, spelling: Spelling) -> str:
    """A code of mainland China as SH600000 (qlib), 600000.SH (suffix) or sh.600000 (prefix); any other as it is."""
    found = _CHINESE.fullmatch(code)
    if not found or spelling == "qlib":
        return code
    return f"{found[2]}.{found[1]}" if spelling == "suffix" else f"{found[1].lower()}.{found[2]}"


def market_of(code: str) -> str:
    """The market that a code shows: "cn" for the exchanges of mainland China, else ""."""
    return "cn" if _CHINESE.fullmatch(code) else ""


def folder_of(code: str) -> str:
    """The name of the folder that holds a code's features."""
    name = code.lower()
    return _PREFIX + name if name in _DEVICES else name


def code_of_folder(name: str) -> str:
    """The code whose features a folder of this name holds."""
    return name.lower().removeprefix(_PREFIX).upper()


def qlib_frequency(text: str | Timeframe) -> str:
    """Qlib's spelling of a timeframe, as in its file names: day, 5min, 60min (it has no hours), 1week, 1month."""
    timeframe = Timeframe.parse(text)
    count, unit = timeframe.count, timeframe.unit
    if unit == "s":
        raise ConfigError(f"Qlib has no bars of seconds ({timeframe}); resample to minutes first")
    if unit == "d":
        return "day" if count == 1 else f"{count}day"
    return f"{count * 60}min" if unit == "h" else f"{count}{ {'m': 'min', 'w': 'week', 'mo': 'month'}[unit] }"


def list_name(name: str) -> str:
    """The name of an instrument list as its file has it."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ConfigError(f"{name!r} cannot name an instrument list; use letters, digits, '_', '-' and '.'")
    return name.lower()


def localized(walls: pd.DatetimeIndex, zone: str | None) -> pd.DatetimeIndex:
    """Times of the folder's wall clock in their zone; of an hour that comes twice the first."""
    if zone is None:
        return walls
    return walls.tz_localize(zone, ambiguous=np.ones(len(walls), dtype=bool), nonexistent="shift_forward")


@dataclass(frozen=True)
class Note:
    """What a folder that we wrote says of itself beyond Qlib's format."""

    symbols: Mapping[str, str] = field(default_factory=dict)
    """Code -> the symbol as it was given, where the two differ."""
    zone: str | None = None
    """The zone of the folder's wall clock."""
    ours: bool = True
    """False where the folder was made by others and the zone is not known."""

    @classmethod
    def read(cls, root: Path) -> "Note":
        """The note in a folder, an empty one where it has none."""
        path = root / NOTE
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            symbols, zone = told["symbols"], told.get("zone")
            names = [name for pair in symbols.items() for name in pair]
            if not all(isinstance(name, str) for name in [*names, zone or ""]):
                raise TypeError("names are texts")
            if zone is not None:
                pd.Timestamp("2000-01-01").tz_localize(zone)
        except FileNotFoundError:
            return cls(ours=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{path}: damaged ({error}); delete it to read Qlib's own names and times") from error
        return cls(symbols, zone, "zone" in told)

    def text(self) -> str:
        """As the file holds it."""
        told: dict[str, object] = {"symbols": dict(sorted(self.symbols.items()))}
        if self.ours:
            told["zone"] = self.zone
        return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


def _is_plain(sign: str) -> bool:
    """True for what may stand in a code: Qlib turns letters to capitals and back, which not all letters survive."""
    return (sign.isalnum() and sign.upper().lower() == sign.lower() and len(sign.upper()) == 1) or sign in "-_.^="
