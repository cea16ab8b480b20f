"""A source by its name, on a command line and in a lake's key."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kronos.data.sources.akshare_source import Akshare
from kronos.data.sources.baostock_source import Baostock
from kronos.data.sources.binance import Binance
from kronos.data.sources.ccxt_source import Ccxt
from kronos.data.sources.okx import Okx
from kronos.data.sources.source import Source
from kronos.data.sources.yfinance_source import YFinance
from kronos.errors import ConfigError, MissingExtra
from kronos.extras import require

SOURCES: Mapping[str, str] = {
    "binance": "Binance spot pairs (BTC/USDT), over its public address",
    "binance-usdm": "Binance USD-margined contracts (BTC/USDT:USDT)",
    "okx": "OKX spot pairs, swaps and futures (BTC/USDT, BTC-USD-SWAP), days from midnight UTC",
    "okx-hk": "OKX with days from midnight in Hong Kong, as on its own charts",
    "ccxt:NAME": "any other exchange that ccxt knows (ccxt:kraken); needs the extra 'exchange'",
    "yfinance": "Yahoo Finance (AAPL, ^GSPC), adjusted prices; needs the extra 'yahoo'",
    "yfinance-raw": "Yahoo Finance without the adjustment for dividends",
    "akshare": "Chinese stocks, funds and indices (600000.SH) from Eastmoney, as traded; needs the extra 'cn'",
    "akshare-qfq": "the same, adjusted to the last price",
    "akshare-hfq": "the same, adjusted to the first price",
    "baostock": "Chinese stocks and indices from baostock.com, as traded; needs the extra 'cn'",
    "baostock-qfq": "the same, adjusted to the last price",
    "baostock-hfq": "the same, adjusted to the first price",
}
"""What there is, in words."""

_MAKERS: dict[str, tuple[Callable[..., Source], dict[str, Any]]] = {
    "binance": (Binance, {}),
    "binance-usdm": (Binance, {"market": "usdm"}),
    "okx": (Okx, {}),
    "okx-hk": (Okx, {"boundary": "hongkong"}),
    "yfinance": (YFinance, {}),
    "yfinance-raw": (YFinance, {"adjust": False}),
    **{f"akshare{'-' * bool(kind)}{kind}": (Akshare, {"adjust": kind}) for kind in ("", "qfq", "hfq")},
    **{f"baostock{'-' * bool(kind)}{kind}": (Baostock, {"adjust": kind}) for kind in ("", "qfq", "hfq")},
}


def make_source(name: str, **options: Any) -> Source:
    """The source of this name, as SOURCES lists it or as a lake's key spells it ("ccxt-kraken").

    `options` are those of its class, such as `base_url`; None means not given.
    """
    given = {option: value for option, value in options.items() if value is not None}
    plain = name.strip().lower()
    for mark in ("ccxt:", "ccxt-"):
        if plain.startswith(mark):
            return Ccxt(plain.removeprefix(mark), **given)
    if plain not in _MAKERS:
        raise _unknown(name, plain)
    make, own = _MAKERS[plain]
    taken = set(inspect.signature(make).parameters) - own.keys()
    if unknown := sorted(given.keys() - taken):
        raise ConfigError(f"the source {plain} takes no {', '.join(unknown)}; it takes {', '.join(sorted(taken))}")
    return make(**own, **given)


def known_source(name: str) -> bool:
    """True where a key's source is one that can be asked again."""
    return name in _MAKERS or name.startswith("ccxt-")


def _unknown(name: str, plain: str) -> ConfigError:
    """An exchange that only ccxt knows is named with its prefix, something misspelt with its neighbours."""
    if plain in _exchanges():
        return ConfigError(f"there is no source {name!r} by itself, but ccxt knows the exchange: write ccxt:{plain}")
    near = difflib.get_close_matches(plain, [*_MAKERS, *(f"ccxt:{one}" for one in _exchanges())], n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(SOURCES)}"
    return ConfigError(f"there is no source {name!r}; {hint}")


def _exchanges() -> list[str]:
    """What ccxt knows, nothing where it is not installed."""
    try:
        return list(require("ccxt", extra="exchange").exchanges)
    except MissingExtra:
        return []
