"""The name of a series: who says so, of what, in bars of which length."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from kronos.bars import Timeframe
from kronos.errors import ConfigError


@dataclass(frozen=True, order=True)
class Key:
    """One series of bars, such as ("binance", "BTC/USDT", "1h"); the timeframe is kept in its canonical spelling."""

    source: str
    symbol: str
    timeframe: str

    def __post_init__(self) -> None:
        """Refuse empty names; 60m becomes 1h."""
        for field in ("source", "symbol"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text.strip() or text != text.strip() or not text.isprintable():
                raise ConfigError(
                    f"a series needs a {field}: a printable text without blanks at its ends, not {text!r}"
                )
        object.__setattr__(self, "timeframe", str(Timeframe.parse(self.timeframe)))

    @property
    def asset(self) -> str:
        """The symbol without the number of a piece: BTC/USDT for BTC/USDT#2."""
        return without_piece(self.symbol)

    @property
    def path(self) -> str:
        """The folder of the series in a lake, every name in one path segment whatever signs it holds."""
        pairs = (("source", self.source), ("symbol", self.symbol), ("timeframe", self.timeframe))
        return "/".join(f"{field}={_segment(text)}" for field, text in pairs)

    @classmethod
    def of_path(cls, path: str) -> "Key":
        """The key whose folder this is."""
        parts = path.split("/")
        values = dict(part.partition("=")[::2] for part in parts) if len(parts) == 3 else {}
        try:
            return cls(*(unquote(values[field]) for field in ("source", "symbol", "timeframe")))
        except KeyError as error:
            raise ConfigError(f"{path!r} is no folder of a series (source=/symbol=/timeframe=)") from error

    @property
    def filename(self) -> str:
        """A file name without suffix from which an import reads symbol and timeframe again: BTC-USDT_1h."""
        return f"{file_name(self.symbol)}_{self.timeframe}"

    def __str__(self) -> str:
        """As messages name it: binance BTC/USDT 1h."""
        return f"{self.source} {self.symbol} {self.timeframe}"


def without_piece(symbol: str) -> str:
    """A symbol without the number that a cleaned lake gives to its pieces."""
    whole, mark, number = symbol.rpartition("#")
    return whole if mark and whole and number.isdigit() else symbol


def file_name(text: str) -> str:
    """`text` as one plain name of a file or folder: no sign that a system reads as a path, no dots in front."""
    return "".join(sign if sign.isalnum() or sign in ".-^=#" else "-" for sign in text).lstrip(".") or "-"


def _segment(text: str) -> str:
    """Percent-encoded; a name of dots alone would be a step up or nowhere."""
    return text.replace(".", "%2E") if not text.strip(".") else quote(text, safe="-_.^+")
