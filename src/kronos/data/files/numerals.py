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
    texts = [_cleaned(column) for column in columns]
    decimal = _decimal_sign(texts, separator)
    return [_converted(text, decimal) for text in texts]


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
    if not _true(text.str.contains(_GAP, regex=True)).any():
        return text
    return text.mask(_true(text.str.fullmatch(_GAPPED)), text.str.replace(_GAP, "", regex=True))


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
