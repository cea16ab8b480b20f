"""Numbers as files write them: thousands in groups, a decimal comma, a dash for none. Cells in, numbers out.

Which sign is the decimal one is concluded from all number columns of a file together, never from one cell: "1,234" says
nothing by itself. Which cells do not fit is told, for the caller to refuse them with their places.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Decimal = Literal[".", ","]

MISSING = ("", "-", "--", "---", "—", "–", "n/a", "n.a.", "na", "nan", "null", "none", "nil", "#n/a", "<na>")

_GAP = "[ '’\u00a0\u2009\u202f]"  # 1 234 and 1'234: no decimal sign looks like these
_GAPPED = rf"[+-]?\d{{1,3}}(?:{_GAP}\d{{3}})+(?:[.,]\d*)?"
_CURRENCY = r"^[$€£¥](?=\d)"
_LETTERS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_INFINITE = r"|[+-]?(?:inf|Inf|INF|infinity|Infinity)"  # a number, if one that no candle has
_WRITTEN: dict[Decimal | None, str] = {
    # 1,234.5 and, as in India, 12,34,567.5
    ".": r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d*)?" + _INFINITE,
    ",": r"[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?|[+-]?\d{1,3}(?:\.\d{3})+(?:,\d*)?" + _INFINITE,
    None: r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?" + _INFINITE,
}
# what only this decimal sign explains: a group before it, two signs of the other kind, or no group of three behind it
_PROOF: dict[Decimal, str] = {
    ".": r".*,\d{3}\..*|.*,.*,.*|[+-]?(?:0|\d{4,})?\.\d+|[+-]?\d{1,3}\.(?:\d{0,2}|\d{4,})",
    ",": r".*\.\d{3},.*|.*\..*\..*|[+-]?(?:0|\d{4,})?,\d+|[+-]?\d{1,3},(?:\d{0,2}|\d{4,})",
}


def to_numbers(
    columns: Sequence["pd.Series[Any]"], separator: str | None
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """The values of each column, NaN where there is none, and which of its cells are no numbers."""
    counted = [_counted(_cleaned(column)) for column in columns]
    decimal = _decimal_sign([text for text, _ in counted], separator)
    converted = [_converted(text, decimal) for text, _ in counted]
    return [
        (values if size is None else values * size, bad)
        for (values, bad), (_, size) in zip(converted, counted, strict=True)
    ]


def _decimal_sign(texts: Sequence["pd.Series[str]"], separator: str | None) -> Decimal | None:
    """The sign that more cells prove; without a proof what goes with the separator, None where commas stay a riddle."""
    points, commas = (sum(int(_true(text.str.fullmatch(_PROOF[sign])).sum()) for text in texts) for sign in _PROOF)
    if points or commas:
        return "." if points >= commas else ","
    has_point, has_comma = (any(_true(t.str.contains(sign, regex=False)).any() for t in texts) for sign in _PROOF)
    if not has_comma or separator == ",":
        return "."
    return "," if separator == ";" and not has_point else None


def _cleaned(column: "pd.Series[Any]") -> "pd.Series[str]":
    """The cells as text, without blanks around them and gaps between thousands; NA where there is no value."""
    text = column.astype("string").str.strip()
    text = text.mask(text.str.lower().isin(MISSING))
    if _true(text.str.match(_CURRENCY)).any():
        text = text.str.replace(_CURRENCY, "", regex=True)
    if not _true(text.str.contains(_GAP, regex=True)).any():
        return text
    return text.mask(_true(text.str.fullmatch(_GAPPED)), text.str.replace(_GAP, "", regex=True))


def _counted(text: "pd.Series[str]") -> tuple["pd.Series[str]", NDArray[np.float64] | None]:
    """Cells such as 1.25M without their letter, and how many each is counted in; None where no cell has a letter."""
    lettered = _true(text.str.fullmatch(r"[+-]?[\d.,]*\d[\d.,]*[KMBT]"))
    if not lettered.any():
        return text, None
    size = text.str[-1].where(lettered).map(_LETTERS).astype(np.float64).fillna(1.0)
    return text.mask(lettered, text.str[:-1]), np.asarray(size, dtype=np.float64)


def _converted(text: "pd.Series[str]", decimal: Decimal | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    good = _true(text.str.fullmatch(_WRITTEN[decimal]))
    plain = text.where(good, "nan")
    if decimal == ",":
        plain = plain.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    else:
        plain = plain.str.replace(",", "", regex=False)
    values = plain.to_numpy(dtype=object).astype(np.float64)  # by Python's float, exact to the last bit
    return values, ~good & text.notna().to_numpy(dtype=bool)


def _true(answers: "pd.Series[Any]") -> NDArray[np.bool_]:
    return answers.fillna(False).to_numpy(dtype=bool)
