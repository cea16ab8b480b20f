"""How fast the engine is, and how its cost grows.

    python benchmarks/engine.py --out engine.json
    python benchmarks/engine.py --growth --out engine.json --picture engine.png

The first is the table of `kronos bench` with its defaults. `--growth` also measures time against horizon, paths, series
and look-back, one at a time, with the embedded network and with one of mini's size and random weights, beside the
reference's algorithm for the small points. It prints the slope of every curve's upper half on log-log axes: 1 is
linear. The look-back's may rise towards 2, as attention over a look-back is quadratic; every other above 1 by more than
noise is a hidden quadratic.
"""

import argparse
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kronos.cli.bench import check_file, measure, record, say, seconds, tabulate, write_record
from kronos.forecast.bench import Case, embedded_pair, published, time_fast, time_slow

MODELS = {"nano": 512, "mini": 2048}  # and their contexts
SLOW_POINTS = 3
"""The reference's algorithm is timed at the first points only; the later ones would take hours."""


@dataclass(frozen=True)
class Curve:
    """Times of a network while one size grows."""

    axis: str
    model: str
    algorithm: str
    points: list[int]
    times: list[float]

    @property
    def slope(self) -> float:
        """Of the upper half, on log-log axes, by least squares."""
        half = len(self.points) // 2
        x = [math.log(point) for point in self.points[half:]]
        y = [math.log(time) for time in self.times[half:]]
        return statistics.linear_regression(x, y).slope


@dataclass(frozen=True)
class Axis:
    """A size that grows while the others stay."""

    name: str
    points: tuple[int, ...]
    lookback: int = 128
    horizon: int = 8
    series: int = 1
    paths: int = 1

    def case(self, model: str, point: int) -> Case:
        """The case at a point."""
        size = {name: getattr(self, name) for name in ("lookback", "horizon", "series", "paths")} | {self.name: point}
        shape = (size["lookback"],) * size["series"], (size["horizon"],) * size["series"], size["paths"]
        if model == "nano":
            return Case(model, model, embedded_pair, *shape)
        return published(model, model, *shape)

    @property
    def fixed(self) -> str:
        """The sizes that stay, in words."""
        stays = {"lookback": "look-back", "horizon": "horizon", "series": "series", "paths": "paths"}
        return ", ".join(f"{word} {getattr(self, name)}" for name, word in stays.items() if name != self.name)


AXES = (
    Axis("horizon", (8, 16, 32, 64, 128, 256), paths=4),
    Axis("paths", (1, 4, 16, 64, 256, 1024)),
    Axis("series", (1, 2, 4, 8, 16, 32, 64)),
    Axis("lookback", (30, 60, 120, 240, 480, 960, 1920), paths=4),
)


def grow(backend: str, repeats: int) -> list[Curve]:
    """All curves; points beyond a network's context are left out."""
    curves = []
    for axis in AXES:
        for model, context in MODELS.items():
            cases = {point: axis.case(model, point) for point in axis.points}
            known = [point for point, case in cases.items() if case.lookbacks[0] + case.horizons[0] <= context]
            for algorithm, points in ((backend, known), ("reference", known[:SLOW_POINTS])):
                times = []
                for point in points:
                    say(f"growth: {axis.name} {point}, {model}, {algorithm}")
                    times.append(_time(cases[point], algorithm, repeats))
                curves.append(Curve(axis.name, model, algorithm, points, times))
    say("")
    return curves


def _time(case: Case, algorithm: str, repeats: int) -> float:
    pair = case.make()
    if algorithm == "reference":
        return sum(one.seconds for one in time_slow(case, pair, repeats))
    return statistics.median(time_fast(case, pair, algorithm, "float32", repeats)[1])


def draw(curves: list[Curve], path: Path) -> None:
    """Four panels on log-log axes, each with a dashed line of slope 1 for the eye."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    for axis, panel in zip(AXES, panels.flat, strict=True):
        shown = [curve for curve in curves if curve.axis == axis.name]
        for curve in shown:
            _draw_curve(panel, curve)
        _draw_slope(panel, axis, shown)
        panel.set(xscale="log", yscale="log", ylabel="seconds")
        panel.set_xlabel("look-back" if axis.name == "lookback" else axis.name)
        panel.set_title(axis.fixed, fontsize=10, loc="left", color="#555555")
        panel.set_xticks(axis.points, [str(point) for point in axis.points])
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.margins(x=0.05)
        panel.set_xlim(right=panel.get_xlim()[1] * (axis.points[-1] / axis.points[0]) ** 0.28)  # for the labels
        panel.grid(visible=True, color="#e6e6e6", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Time of a forecast while one size grows (faint: the reference's algorithm)", fontsize=13)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_curve(panel: Any, curve: Curve) -> None:
    slow = curve.algorithm == "reference"
    color = {"nano": "#c2410c", "mini": "#1d4ed8"}[curve.model]
    panel.plot(curve.points, curve.times, "o-", color=color, markersize=4, linewidth=1.8, alpha=0.45 if slow else 1.0)
    label = f"{curve.model}, reference" if slow else f"{curve.model}, slope {curve.slope:.2f}"
    _label(panel, label, (curve.points[-1], curve.times[-1]), color=color, alpha=0.75 if slow else 1.0)


def _label(panel: Any, text: str, at: tuple[float, float], **style: Any) -> None:
    """Words to the right of a point, legible where a line passes behind them."""
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=4, foreground="white")]
    place = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "zorder": 5}
    panel.annotate(text, at, fontsize=9, path_effects=effects, **place, **style)


def _draw_slope(panel: Any, axis: Axis, curves: list[Curve]) -> None:
    """A dashed line of slope 1 below all curves."""
    ends = axis.points[0], axis.points[-1]
    lowest = min(time / point for curve in curves for point, time in zip(curve.points, curve.times, strict=True)) / 3
    panel.plot(ends, [lowest * end for end in ends], "--", color="#999999", linewidth=1)
    _label(panel, "slope 1", (ends[1], lowest * ends[1]), color="#777777")


def describe(curves: list[Curve]) -> str:
    """A line for every curve: its times and its slope."""
    lines = []
    for curve in curves:
        pairs = "  ".join(f"{point}: {seconds(time)}" for point, time in zip(curve.points, curve.times, strict=True))
        slope = "" if curve.algorithm == "reference" else f"   slope {curve.slope:.2f}"
        lines.append(f"{curve.axis:<9} {curve.model:<5} {curve.algorithm:<10} {pairs}{slope}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growth", action="store_true", help="also measure how cost grows")
    parser.add_argument("--growth-only", action="store_true", help="leave out the table")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("engine.json"))
    parser.add_argument("--picture", type=Path, default=Path("engine.png"))
    options = parser.parse_args()
    check_file(options.out)
    content: dict[str, Any] = {}
    if not options.growth_only:
        report = measure([], [options.backend], ["float32"], options.repeats, slow=True)
        print(tabulate(report))
        content = record(report)
        write_record(options.out, content)  # the growth takes long; what is known is kept
    if options.growth or options.growth_only:
        curves = grow(options.backend, options.repeats)
        print(describe(curves))
        content["growth"] = [asdict(curve) | {"slope": curve.slope} for curve in curves]
        draw(curves, options.picture)
        print(f"wrote {options.picture}")
    write_record(options.out, content)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
