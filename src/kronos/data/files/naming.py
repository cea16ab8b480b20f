"""What a file's name and folder say: symbol, timeframe, market. Names only; no file is opened.

A name is read from its ends: words for a market or an exchange lead, dates and words such as "klines" trail, and the
timeframe stands last (or first). What is left is the symbol. A word is a timeframe only where one is expected: M, D and
MS are tickers too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from kronos.bars.timeframe import Timeframe
from kronos.data.files.labels import QUOTES
from kronos.data.files.opening import PACKED_SUFFIXES, TEXT_SUFFIXES
from kronos.errors import ConfigError

_SUFFIXES = (*PACKED_SUFFIXES, *TEXT_SUFFIXES, ".parquet", ".pq", ".feather", ".xlsx", ".arrow", ".pkl", ".pickle")

MARKETS: dict[str, str] = {
    **dict.fromkeys(("crypto", "cryptos", "spot", "swap", "swaps", "perp", "perps", "perpetual", "加密"), "crypto"),
    **dict.fromkeys(("us", "usa", "us_stocks", "美股"), "us"),
    **dict.fromkeys(("cn", "china", "ashare", "ashares", "a股", "沪深"), "cn"),
    **dict.fromkeys(("hk", "hongkong", "港股"), "hk"),
    **dict.fromkeys(("fx", "forex", "currencies", "外汇"), "fx"),
    **dict.fromkeys(("index", "indices", "indexes", "指数"), "index"),
    **dict.fromkeys(("future", "futures", "期货"), "futures"),
    **dict.fromkeys(("stock", "stocks", "equity", "equities", "股票"), "stock"),
    **dict.fromkeys(("etf", "etfs"), "etf"),
    **dict.fromkeys(("commodity", "commodities"), "commodity"),
    **dict.fromkeys(("bond", "bonds"), "bond"),
}
_EXCHANGES: dict[str, str] = {
    **dict.fromkeys(
        ("binance", "okx", "okex", "bybit", "bitget", "kucoin", "coinbase", "kraken", "bitstamp", "bitfinex", "gemini",
         "gateio", "huobi", "htx", "mexc", "bitmex", "deribit", "poloniex", "hyperliquid"), "crypto"
    ),
    **dict.fromkeys(("nasdaq", "nyse", "amex", "bats", "arca"), "us"),
    **dict.fromkeys(("sse", "szse"), "cn"),
    **dict.fromkeys(("hkex", "hkexe", "sehk"), "hk"),
    **dict.fromkeys(("oanda", "fxcm", "dukascopy"), "fx"),
    **dict.fromkeys(("cme", "comex", "nymex", "cbot"), "futures"),
}  # fmt: skip
_HALVES = frozenset(("sh", "sz", "bj"))
_SHEETS = (
    "sheet", "table", "tabelle", "feuil", "hoja", "工作表", "chart", "worksheet", "info", "notes", "readme", "summary",
    "meta", "metadata", "overview", "说明",
)  # fmt: skip
_TRAILING = frozenset(("us", "usa", "cn", "hk", "crypto", "fx", "forex", "stock", "stocks", "etf"))  # AAPL_us_d
_WORDS = frozenset(
    (
        "data", "ohlc", "ohlcv", "kline", "klines", "candle", "candles", "candlestick", "candlesticks", "bars",
        "history", "historical", "hist", "prices", "quotes", "full", "raw", "adj", "adjusted", "unadjusted",
        "splitadjusted", "adjsplit", "adjsplitdiv", "qfq", "hfq", "dat", "ascii", "export", "sample", "download",
        "yahoo", "yfinance", "stooq", "tradingview", "ccxt", "行情",
    )
)  # fmt: skip

_TOKEN = re.compile(r"[^\s_,()\[\]-]+")
_DATE = r"(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:0[1-9]|[12]\d|3[01])(?:\d{4}(?:\d\d)?)?)?)?"
_DATES = re.compile(rf"(.*?[^-_\s])(?:[-_\s]+(?:(?:to|until|from)[-_\s]+)?{_DATE})+", re.IGNORECASE)

_CLEAR = re.compile(
    r"\d+(?:s|secs?|seconds?|m|mins?|minutes?|h|H|hrs?|hours?|d|D|days?|w|W|wks?|weeks?|mo|mon|months?|Min|MIN|S|Hour)"
)
_METATRADER = re.compile(r"(M|H|D|W)(\d{1,2})|MN1?")  # M15, H4, D1, W1, MN
_METATRADER_FILE = re.compile(r"([A-Z]{6})(1|5|15|30|60|240|1440|10080)")  # EURUSD60, in minutes
_WORDED = {
    **dict.fromkeys(("daily", "日线", "日k"), "1d"),
    **dict.fromkeys(("weekly", "周线", "周k"), "1w"),
    **dict.fromkeys(("monthly", "月线", "月k"), "1mo"),
    "hourly": "1h",
}
_CHINESE = {"分钟": "m", "小时": "h"}
# these are tickers as well, and a timeframe only behind a symbol and one of the wider signs
_DOUBTFUL = {
    **dict.fromkeys(("D", "d", "day"), "1d"),
    **dict.fromkeys(("H", "h", "hour"), "1h"),
    **dict.fromkeys(("W", "w", "week"), "1w"),
    **dict.fromkeys(("M", "month"), "1mo"),
    "minute": "1m",
}


@dataclass(frozen=True)
class Named:
    """What a name says; None where it says nothing."""

    symbol: str | None = None
    timeframe: str | None = None
    market: str | None = None


def name_of(path: str | PurePath, root: str | PurePath | None = None) -> Named:
    """Symbol, timeframe and market from a file's name, and what it lacks from the folders below `root`.

    `crypto_BTC_1h.parquet`, `BTCUSDT-1h-2024-01.zip`, `us/AAPL_daily.csv` and `1d/600000.SH.csv` are understood. A pair
    of currencies with a sign between them becomes "BTC/USDT"; every other symbol is kept as it is written.
    """
    path = PurePath(path)
    named = _of_stem(_stem(path.name))
    folders = list(_folders(path, None if root is None else PurePath(root)))
    timeframe = named.timeframe or next((found for folder in folders if (found := _clear(folder))), None)
    market = named.market or next((found for folder in folders if (found := _market(folder))), None)
    symbol = named.symbol
    if symbol is None and root is not None:  # BTCUSDT/1h.csv
        symbol = next(
            (_of_stem(folder).symbol for folder in folders if not _clear(folder) and not _market(folder)), None
        )
    return Named(symbol, timeframe, market)


def is_symbol(text: str) -> bool:
    """True where a word, such as the name of a sheet, can be a symbol: AAPL and 000001.SZ, not Sheet1 and not 1h."""
    plain = text.strip()
    if re.fullmatch(r"(?i)(sheet|table|tabelle|feuil|hoja|工作表|chart|data|worksheet)[\s_-]*\d*", plain):
        return False
    if plain.casefold() in _WORDS or _clear(plain) or not re.fullmatch(r"[\w.\-/:^=#&]{1,24}", plain):
        return False
    return plain.casefold() not in (
        "info",
        "notes",
        "readme",
        "summary",
        "meta",
        "metadata",
        "说明",
        "overview",
        "index",
    )


def _folders(path: PurePath, root: PurePath | None) -> Iterator[str]:
    """The names of the folders above a file, nearest first: those below the root, or the one it lies in."""
    if root is None:
        yield from [path.parent.name] if path.parent.name else []
        return
    try:
        below = path.relative_to(root)
    except ValueError:
        return
    yield from reversed(below.parts[:-1])


def _stem(name: str) -> str:
    """The name without suffixes of files, of which a symbol such as 000001.SZ has none."""
    while (found := PurePath(name)).suffix.lower() in _SUFFIXES and found.stem:
        name = found.stem
    return re.sub(r"\s*\(\d+\)$", "", name).strip()  # a browser's second download


def _of_stem(stem: str) -> Named:
    left, comma, right = stem.partition(", ")
    if comma and (timeframe := _of_tradingview(right)):  # "NASDAQ_AAPL, 1D_3ab5c"
        return replace(_of_stem(left), timeframe=timeframe)
    if found := _METATRADER_FILE.fullmatch(stem):
        return Named(found[1], str(Timeframe(int(found[2]), "m")), None)
    return _Words(stem).read()


def _of_tradingview(text: str) -> str | None:
    word = _TOKEN.match(text)
    if word is None:
        return None
    if word[0] in ("1", "2", "3", "5", "10", "15", "30", "45", "60", "90", "120", "180", "240", "360", "720"):
        return str(Timeframe(int(word[0]), "m"))
    return _clear(word[0]) or _doubtful(word[0])


class _Words:
    """The words of a name, read off its ends until the symbol is left."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.words = list(_TOKEN.finditer(stem))
        self.wide = bool(re.search(r"[_\s]", stem))  # then a hyphen belongs to a symbol such as US-10Y
        self.market: str | None = None
        self.timeframe: str | None = None

    def read(self) -> Named:
        before = None
        while before != (len(self.words), self.timeframe):
            before = (len(self.words), self.timeframe)
            self._strip_front()
            self._strip_back()
        return Named(self._symbol(), self.timeframe, self.market)

    def _strip_front(self) -> None:
        if len(self.words) < 2:
            return
        word = self.words[0][0]
        number = _market(word) in ("hk", "cn") and self.words[1][0].isdigit()  # 2018 is a year and a share in Hong Kong
        if not (number or self._has_symbol(1, len(self.words))):
            return
        follows = self.stem[self.words[0].end()]
        if follows == "-" and self.wide:
            return
        market = _market(word) or _EXCHANGES.get(word.casefold())
        if market or word.casefold() in _WORDS:
            self.market = self.market or market
            del self.words[0]
        elif self.timeframe is None and _clear(word) and not _clear(self.words[-1][0]):
            self.timeframe = _clear(word)
            del self.words[0]

    def _strip_back(self) -> None:
        if not self.words:
            return
        last = self.words[-1]
        rest = self._has_symbol(0, len(self.words) - 1)
        if self.timeframe is None and (rest or len(self.words) == 1) and (found := _clear(last[0])):
            self.timeframe = found
            del self.words[-1]
            return
        if not rest:
            return
        word, wide = last[0], self.stem[last.start() - 1] != "-"
        if self.timeframe is None and (wide or word[0].isdigit()) and (found := _doubtful(word)):
            self.timeframe = found
            del self.words[-1]
        elif (
            word.casefold() in _WORDS
            or (wide and word.casefold() in _TRAILING)
            or (_market(word) and len(self.words) > 1 and _clear(self.words[-2][0]))  # freqtrade: 1h-futures
        ):
            self.market = self.market or _market(word)
            del self.words[-1]
        elif dates := _DATES.fullmatch(self._rest()):
            stop = self.words[0].start() + len(dates[1])
            kept = [word for word in self.words if word.end() <= stop]
            if self._has_symbol(0, len(kept)) or (kept and _clear(kept[-1][0]) and len(kept) > 1):
                self.words = kept

    def _has_symbol(self, first: int, stop: int) -> bool:
        """True where one of these words can be a symbol; the exchange's mark of a Chinese code is half a symbol."""
        words = [word[0] for word in self.words[first:stop]]
        return any(
            not _clear(word) and not re.fullmatch(_DATE, word) and word.casefold() not in _HALVES for word in words
        )

    def _rest(self) -> str:
        return self.stem[self.words[0].start() : self.words[-1].end()] if self.words else ""

    def _symbol(self) -> str | None:
        text = self._rest()
        pair = re.fullmatch(r"([A-Za-z0-9]{1,12})[-_/]([A-Za-z]{3,5})(?:[-_]([A-Za-z]{3,5}))?", text)
        if pair and pair[2].upper() in QUOTES and (pair[3] or pair[2]).upper() == pair[2].upper():
            settled = f":{pair[3]}" if pair[3] else ""
            return f"{pair[1]}/{pair[2]}{settled}".upper()
        return text or None


def _market(word: str) -> str | None:
    return MARKETS.get(word.casefold())


def _clear(word: str) -> str | None:
    """The timeframe that a word names wherever it stands."""
    if _CLEAR.fullmatch(word):
        return _length(word.lower())
    if found := _METATRADER.fullmatch(word):
        return _length(f"{found[2]}{found[1].lower()}" if found[1] else "1mo")
    if found := re.fullmatch(r"(\d+)(分钟|小时)(?:线|k|K)?", word):
        return _length(found[1] + _CHINESE[found[2]])
    return _WORDED.get(word.casefold())


def _doubtful(word: str) -> str | None:
    """The timeframe that a word may name."""
    return _length(word) if re.fullmatch(r"\d+M", word) else _DOUBTFUL.get(word)


def _length(text: str) -> str | None:
    """The timeframe, None where the count is none that bars have (0m)."""
    try:
        return str(Timeframe.parse(text))
    except ConfigError:
        return None
