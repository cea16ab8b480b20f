"""What vendors' column names say beyond their role: whose the rows are, in which currency or unit a volume is counted.

It works on names and on the columns that have them; the roles themselves belong to `kronos.bars.columns`.
"""

import re
from collections.abc import Sequence

import pandas as pd

from kronos.bars.columns import column_key, role_of

# in the order in which they are believed
_SYMBOL_KEYS = (
    "symbol", "ticker", "tscode", "windcode", "instrument", "instrumentid", "instid", "orderbookid", "secid",
    "证券代码", "股票代码", "合约代码", "交易代码", "代码", "合约", "tic", "stockcode", "code", "pair", "asset",
)  # fmt: skip
_WEAK_SYMBOL_KEYS = ("name", "securityname", "证券简称", "股票简称")  # may as well be something else

QUOTES = (
    "USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USDD", "DAI", "USD", "EUR", "GBP", "JPY", "TRY", "KRW", "AUD", "BRL",
    "CHF", "CAD", "CNY", "CNH", "HKD", "RUB", "UAH", "INR", "BTC", "ETH", "BNB",
)  # fmt: skip
_SCALES = {"百": 1e2, "千": 1e3, "万": 1e4, "十万": 1e5, "百万": 1e6, "千万": 1e7, "亿": 1e8}


def symbol_column(labels: Sequence[str]) -> int | None:
    """The column that says whose each row is."""
    keys = [column_key(label) for label in labels]
    return next((keys.index(key) for key in _SYMBOL_KEYS if key in keys), None)


def weak_symbol_column(labels: Sequence[str]) -> int | None:
    """A column that may say so: its values must tell."""
    keys = [column_key(label) for label in labels]
    return next((keys.index(key) for key in _WEAK_SYMBOL_KEYS if key in keys), None)


def scaled(label: str) -> tuple[str, float]:
    """A volume or amount in units of many, such as 成交额(百万): its plain name, and how many; 1 for all others."""
    found = re.fullmatch(r"(.+?)[(（\[]\s*(\D*?)\s*(?:人民币|港|美)?[元股手张币]?\s*[)）\]]", label.strip())
    factor = _SCALES.get(found[2]) if found else None
    if found is None or factor is None or role_of(found[1]) not in ("volume", "amount"):
        return label, 1.0
    return found[1], factor


def with_currencies(labels: Sequence[str], symbol: str | None) -> list[str]:
    """`labels` with "Volume BTC" and "Volume USDT" called volume and amount, by the symbol where one is known."""
    roles = {role_of(label) for label in labels}
    counted = {
        i: found[1]
        for i, label in enumerate(labels)
        if (found := re.fullmatch(r"volume([a-z]{2,6})", column_key(label)))
    }
    pair = re.sub(r"[^a-z0-9]", "", symbol.casefold()) if symbol else ""
    named = {i: unit for i, unit in counted.items() if unit in pair or unit.upper() in QUOTES or len(counted) == 2}
    quote = {i for i, unit in named.items() if pair.endswith(unit)} if pair else set()
    if not quote and not any(unit in pair for unit in named.values()):
        quote = {i for i, unit in named.items() if unit.upper() in QUOTES}
        if len(quote) == 2:
            quote = {max(quote)}  # Volume BTC, Volume USD: the second
    result = list(labels)
    for places, role in ((quote, "amount"), (set(named) - quote, "volume")):
        if role not in roles and len(places) == 1:
            result[places.pop()] = role
    return result


def without_empty_volume(labels: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """`labels` with a volume of zeros renamed where ticks were counted: MetaTrader has no volume for currencies."""
    keys = [column_key(label) for label in labels]
    ticks = [i for i, key in enumerate(keys) if key in ("tickvol", "tickvolume")]
    result = list(labels)
    for place, key in enumerate(keys):
        if ticks and key in ("vol", "volume") and (frame.iloc[:, place] == 0).all():
            result[place] = "real volume"
    return result
