"""Where the bars begin and end in a table of cells, and what its columns are called.

Exports put titles above the header, units or tickers below it, and totals or sources under the last bar. This file
looks at the first and the last rows as text; it reads no files and converts no values.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kronos.bars.candles import CLOSE, COLUMNS
from kronos.bars.columns import column_key, role_of
from kronos.bars.stamps import parse_times
from kronos.errors import BarsError

HEAD = 60  # the header stands within so many rows
FOOT = 30  # a footer has so many rows at most

Cells = Sequence[str]

_PRICES = frozenset(COLUMNS[: CLOSE + 1])
_UNITS = 3  # rows at most between the header and the first bar
_NUMBER = re.compile("(?=.*\\d)[+-]?[$€£¥]?[\\d.,'’ \u00a0\u2009\u202f]+(?:[eE][+-]?\\d+)?")

_DECIMAL = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
# files that never have a header: what the cells of a row look like, and what the columns are
_HEADERLESS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (r"\d{10,19}", *[_DECIMAL] * 5, r"\d{10,19}", _DECIMAL, r"\d+", *[_DECIMAL] * 3),  # Binance klines
        (
            "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
            "taker_buy_volume", "taker_buy_quote_volume", "ignore",
        ),
    ),
    (
        (r"\d{4}\.\d\d\.\d\d", r"\d\d:\d\d", *[_DECIMAL] * 4, r"\d+"),  # MetaTrader 4
        ("date", "time", "open", "high", "low", "close", "volume"),
    ),
    (
        (r"\d{8} \d{6}", *[_DECIMAL] * 4, r"\d+"),  # HistData
        ("datetime", "open", "high", "low", "close", "volume"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """The names of the columns, and the number of the first row that is a bar."""

    labels: tuple[str, ...]
    first: int
    header: int | None = None  # the row of the names
    tickers: tuple[str, ...] = ()  # whose each column is, where the header says so

    @property
    def known(self) -> bool:
        """True where all four prices were found."""
        return {role_of(label) for label in self.labels} >= _PRICES

    @property
    def prices(self) -> list[int]:
        """The columns of the prices."""
        return [i for i, label in enumerate(self.labels) if role_of(label) in _PRICES]

    @property
    def _time(self) -> int:
        return next((i for i, label in enumerate(self.labels) if role_of(label) == "time"), 0)

    def is_bar(self, row: Cells) -> bool:
        """True for a row of the right width that has a time and all prices."""
        numbers = [_NUMBER.fullmatch(_cell(row, place)) for place in self.prices]
        return len(row) >= len(self.labels) and all(numbers) and _is_time(_cell(row, self._time))

    def is_no_bar(self, row: Cells) -> bool:
        """True for a row that has neither a time nor a price: a unit, a total, the name of a source."""
        if any(_NUMBER.fullmatch(_cell(row, place)) for place in self.prices):
            return False
        return not _is_time(_cell(row, self._time))

    def is_shifted(self, row: Cells) -> bool:
        """True for a row with one field more than there are names, the first of them without a name."""
        if any(role_of(label) == "time" for label in self.labels):
            return not _is_time(_cell(row, self._time)) and _is_time(_cell(row, self._time + 1))
        return _cell(row, len(row) - 1) != ""

    def footer(self, last: Sequence[Cells]) -> int:
        """How many of the last rows are no bars; none of them where no row is one."""
        return next((count for count, row in enumerate(reversed(last)) if not self.is_no_bar(row)), 0)


def find_layout(rows: Sequence[Cells]) -> Layout | None:
    """The layout of a table that begins with `rows`: a header with all prices, a known file without one, a poor header.

    None where no row names at least two columns.
    """
    roles = [{role_of(cell) for cell in row} - {None} for row in rows]
    whole = next((i for i, found in enumerate(roles) if found >= _PRICES), None)
    if whole is not None:
        return _below(rows, whole)
    for first, row in enumerate(rows[:3]):
        for cells, labels in _HEADERLESS:
            if len(row) == len(cells) and all(map(re.fullmatch, cells, map(str.strip, row))):
                return Layout(labels, first)
    best = max(range(len(rows)), key=lambda i: (len(roles[i]), -i), default=None)
    if best is None or len(roles[best]) < 2:
        return None
    return Layout(_names(rows[best]), best + 1, best)


def _below(rows: Sequence[Cells], header: int) -> Layout:
    """The layout with this header, and with what the rows around it add: tickers, and the name of the time column."""
    layout = Layout(_names(rows[header]), header + 1, header)
    extra = []
    for row in rows[header + 1 : header + 1 + _UNITS]:
        if not layout.is_no_bar(row):
            break
        extra.append(row)
    below = header + 1 + len(extra)
    if below == len(rows) or layout.is_no_bar(rows[below]):
        extra = []  # bars that cannot be read are no units: the reader says what is wrong with them
    layout = replace(layout, first=header + 1 + len(extra))
    if not any(role_of(label) == "time" for label in layout.labels):  # yfinance writes it below
        name = next((row[0].strip() for row in extra if row and role_of(row[0]) == "time"), layout.labels[0])
        layout = replace(layout, labels=(name, *layout.labels[1:]))
    around = [*extra, *([rows[header - 1]] if header else [])]
    prices = layout.prices
    repeated = len({column_key(layout.labels[place]) for place in prices}) < len(prices)
    for row in around:
        if column_key(_cell(row, 0)) in ("ticker", "tickers", "symbol") or (repeated and not _cell(row, 0)):
            tickers = tuple(_cell(row, place) for place in range(len(layout.labels)))
            if all(tickers[place] for place in prices):
                return replace(layout, tickers=tickers)
    return layout


def _names(row: Cells) -> tuple[str, ...]:
    """The cells of a header without the empty ones at its end."""
    names = [cell.strip().lstrip("\ufeff").strip() for cell in row]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _cell(row: Cells, place: int) -> str:
    return row[place].strip() if place < len(row) else ""


def _is_time(text: str) -> bool:
    if not any(sign.isdigit() for sign in text):
        return False
    try:
        parse_times([text])
    except BarsError as error:
        return "told apart" in str(error)  # 01/02/2024 alone is a time, if one of two
    return True
