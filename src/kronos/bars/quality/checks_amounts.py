"""Whether the amounts fit the volumes: amount / volume is the price that was paid, and lies within its bar.

Sources count volume in shares, lots, contracts or coins; a constant factor is a unit and no error, and is said once.
"""

from collections.abc import Iterator

import numpy as np

from kronos.bars.candles import HIGH, LOW, Array
from kronos.bars.quality.checks_prices import middle_and_spread
from kronos.bars.quality.checks_rows import Usable
from kronos.bars.quality.findings import Finding, Severity

LOTS = 0.02  # a factor within two in a hundred of a power of ten is that power


def check_amounts(bars: Usable) -> Iterator[Finding]:
    """Whether amount / volume is a price of the bar, in which unit, and whether it drifts away."""
    both = (bars.volume > 0) & (bars.amount > 0)
    if both.sum() < 10:
        return
    prices, volume, amount = bars.prices[both], bars.volume[both], bars.amount[both]
    times = bars.times[both]
    middle = prices.mean(axis=1)
    paid = np.log(amount) - np.log(volume)
    power = min((1, 0, -1), key=lambda p: middle_and_spread(paid - p * np.log(middle))[1] + 1e-4 * (p != 1))
    factor, spread = middle_and_spread(paid - power * np.log(middle))

    def whole(severity: Severity, detail: str) -> Finding:
        return Finding("vwap", severity, times[0], times[-1], len(times), detail)

    if power != 1 and middle_and_spread(paid - np.log(middle))[1] > 0.02:
        what = "in the unit of volume" if power == 0 else "in coins of a contract paid in coins"
        yield whole("note", f"amount looks counted {what}: it does not grow with the price")
        return
    unit = _unit(float(np.exp(factor)))
    if unit != 1.0:
        reason = ": volume counts lots" if unit in (100.0, 1000.0) else ""
        yield whole("note", f"amount / (volume x price) is {unit:.4g}{reason}")
    drift = _drift(paid - np.log(middle))
    if drift is not None:
        way = f"from {drift[0]:.3g} to {drift[1]:.3g}"
        yield whole("warning", f"amount / (volume x price) goes {way}: prices look adjusted, volume not")
        return
    vwap = np.exp(paid) / unit
    # volume and amount may be rounded to whole units, prices to their last digit
    loose = 1e-3 + np.minimum(0.5 / volume + 0.5 / amount, 0.05) + min(spread, 0.001)
    outside = (vwap > prices[:, HIGH] * (1 + loose)) | (vwap < prices[:, LOW] * (1 - loose))
    if outside.any():
        away = np.abs(np.log(vwap / np.clip(vwap, prices[:, LOW], prices[:, HIGH])))
        worst = int(away.argmax())
        share = float(outside.mean())
        detail = (
            f"amount / volume lies outside the bar in {int(outside.sum()):,} of {len(vwap):,} bars ({share:.2%}); "
            f"the farthest {vwap[worst]:.6g} against {prices[worst, LOW]:.6g} to {prices[worst, HIGH]:.6g}"
        )
        at, count = times[outside], int(outside.sum())
        yield Finding("vwap", "warning" if share > 0.01 else "note", at[0], at[-1], count, detail, count)


def _unit(factor: float) -> float:
    """A power of ten where the factor is near one, else the factor as it is."""
    near = 10.0 ** round(np.log10(factor))
    return near if abs(np.log(factor / near)) < LOTS else factor


def _drift(ratio: Array) -> tuple[float, float] | None:
    """First and last level of a log ratio that is steady in each stretch of time and differs between them."""
    blocks = np.array_split(ratio, min(20, len(ratio) // 10) or 1)
    levels = [middle_and_spread(block) for block in blocks]
    middles, spreads = np.array(levels).T
    if middles.max() - middles.min() < max(0.02, 6 * float(np.median(spreads))):
        return None
    return float(np.exp(middles[0])), float(np.exp(middles[-1]))
