"""Numbers and names as a reader wants them: as many digits as the error leaves meaning to, and lists with an "and"."""

import math
from collections.abc import Sequence


def digits_for(error: float, most: int = 4) -> int:
    """How many decimals a number deserves whose error is this: the error's first two digits are the last ones shown."""
    if not (math.isfinite(error) and error > 0):
        return 3
    return min(max(math.floor(-math.log10(error)) + 1, 0), most)


def rounded(value: float, digits: int) -> str:
    """So many decimals; what rounds to nothing has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def within(value: float, error: float, *, least: int = 0, most: int = 4) -> str:
    """A number and its error, such as "0.998 ± 0.004"; a dash for what is not a number."""
    if not math.isfinite(value):
        return dash(value)
    if not math.isfinite(error):
        return f"{value:.3f}"
    digits = min(max(digits_for(error), least), most)
    return f"{rounded(value, digits)} ± {error:.{digits}f}"


def percent(share: float, error: float = math.nan) -> str:
    """A share as "51.2 % ± 1.4"; without an error, or where all agree, "51.2 %"."""
    if not math.isfinite(share):
        return dash(share)
    if not (math.isfinite(error) and error > 0):
        return f"{100 * share:.1f} %"
    digits = min(max(digits_for(100 * error), 1), 2)
    return f"{rounded(100 * share, digits)} % ± {100 * error:.{digits}f}"


def probability(p: float) -> str:
    """A p-value: "p 0.39", "p 0.004", "p < 0.001"."""
    if not math.isfinite(p):
        return "p not known"
    if p < 0.001:
        return "p < 0.001"
    return f"p {p:.3f}" if p < 0.0995 else f"p {p:.2f}"


def significant(value: float, digits: int = 3) -> str:
    """A number of any size in a few digits: 0.00123, 12.3, 12,300."""
    if not math.isfinite(value):
        return dash(value)
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{decimals}f}" if decimals > 0 else f"{round(value, decimals):,.0f}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """ "a", "a and b", "a, b and c"; of very many the first, and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(number: int, thing: str) -> str:
    """ "1 origin", "1,204 origins"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def dash(value: float) -> str:
    """For what is not a number a dash, for what is endless its sign."""
    return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
