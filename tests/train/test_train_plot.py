"""Charts of runs: drawn at every stage of a run, nothing on top of anything else, overfitting called by its name."""

import json
import math
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from kronos.errors import ConfigError, SourceError
from kronos.train.metrics import METRICS_FILE
from kronos.train.plot import _curve, _draw, _smooth, _stages, _thin, draw_run, overfitting


def run_of(
    steps: int,
    *,
    every: int = 20,
    rise: float = 0.0,
    best: float = 0.5,
    task: bool = True,
    floor: float = 3.0,
    start: float = 5.5,
    kind: str = "predictor",
) -> list[dict[str, float]]:
    """A run as the loop logs it: what the first step begins from, and every step; validation rises after `best`."""
    rng = np.random.default_rng(7)

    def look(along: float) -> dict[str, float]:
        loss = floor + 0.05 + (start - floor) * math.exp(-12 * along) + rise * max(along - best, 0.0)
        figures = {"val_loss": loss, "val_s1": 0.9 * loss, "val_s2": 1.1 * loss}
        if kind == "tokenizer":
            figures = {"val_loss": loss, "val_coarse": 0.6 * loss, "val_full": 0.4 * loss, "val_quantiser": -0.3}
        if task:
            figures |= {"task_crps": 0.01 + 0.002 * (loss - floor), "task_cover90": 0.87, "task_hv20_crps": 0.0112}
        return figures

    lines: list[dict[str, float]] = [{"step": 0, **look(0.0)}]
    for step in range(1, steps + 1):
        along = step / steps
        loss = floor + (start - floor) * math.exp(-12 * along) - 0.1 * along + rng.normal(0, 0.02)
        line = {"step": step, "lr": 2e-3 * (1 - along), "loss": loss, "grad_norm": rng.lognormal(-0.5, 0.4)}
        line |= {
            name[4:]: value for name, value in look(along).items() if name.startswith("val_") and name != "val_loss"
        }
        line["tokens_per_second"] = 12_345.0
        lines.append(line | (look(along) if step % every == 0 or step == steps else {}))
    return lines


def put(folder: Path, lines: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / METRICS_FILE).write_text(text.replace("NaN", "null"))
    return folder


def without(lines: Sequence[dict[str, float]], *starts: str) -> list[dict[str, float]]:
    return [{name: value for name, value in line.items() if not name.startswith(starts)} for line in lines]


def words(figure: Figure) -> list[str]:
    inside = [text.get_text() for pane in figure.axes for text in pane.texts]
    return [text.get_text() for text in figure.texts] + inside


# --- overfitting ------------------------------------------------------------------------------------------------------


def of(held: dict[int, float], train: dict[int, float] | None = None) -> list[dict[str, float]]:
    """Lines of a run whose training loss falls by a thousandth a step, unless told otherwise."""
    losses = {step: 3.0 - 0.001 * step for step in range(1, max(held) + 1)} if train is None else train
    return [
        {"step": step}
        | ({"loss": losses[step]} if step in losses else {})
        | ({"val_loss": held[step]} if step in held else {})
        for step in sorted({*held, *losses})
    ]


def test_overfitting_is_said_with_its_figures() -> None:
    text = overfitting(of({0: 5.0, 100: 3.0, 200: 2.8, 300: 2.9, 400: 3.1}))
    assert text == (
        "overfitting since step 200: validation loss rose from 2.8000 to 3.1000 (step 400) "
        "while training loss fell from 2.8495 to 2.6495"  # the means of steps 101 to 200 and 301 to 400
    )


def test_what_a_pretrained_network_began_with_may_have_been_its_best() -> None:
    text = overfitting(of({0: 2.5, 50: 2.6, 100: 2.8}))
    assert text is not None
    assert "since step 0" in text
    assert "fell from 2.9745 to 2.9245" in text  # the first fifty steps and the last
    assert overfitting(of({0: 2.5, 1: 2.6})) is None  # one step: nothing to compare it with


@pytest.mark.parametrize(
    ("held", "train"),
    [
        ({100: 3.0}, None),  # looked at once
        ({0: 5.0, 100: 3.0, 200: 2.8, 300: 2.7}, None),  # still getting better
        ({0: 5.0, 100: 2.8, 200: 2.805, 300: 2.81}, None),  # flat: a third of a per cent
        ({0: 5.0, 50: 3.0, 100: 3.3, 200: 2.8, 300: 2.9}, None),  # rough: it recovered from more before
        ({0: 5.0, 100: 2.8, 200: 3.4}, dict.fromkeys(range(1, 201), 3.0)),  # training does not fall either
        ({0: 5.0, 100: 2.8, 200: 3.4}, {step: 2.0 + 0.01 * step for step in range(1, 201)}),  # it has gone astray
        ({0: 5.0, 100: 2.8, 200: 3.4}, {}),  # nothing is known of training
        ({0: 5.0, 100: 2.8, 200: math.nan}, None),
    ],
)
def test_not_overfitting(held: dict[int, float], train: dict[int, float] | None) -> None:
    assert overfitting(of(held, train)) is None


def test_nothing_to_judge() -> None:
    assert overfitting([]) is None
    assert overfitting([{"step": 1, "loss": math.nan}]) is None


# --- curves -----------------------------------------------------------------------------------------------------------


def test_smoothing_is_a_mean_of_the_neighbours() -> None:
    rng = np.random.default_rng(0)
    steps, values = np.arange(500.0), rng.normal(0, 1, 500)
    _, smooth = _smooth((steps, values))
    for place in range(500):
        reach = min(8, place)  # a sixtieth of the run to either side, no further than the beginning is away
        assert smooth[place] == pytest.approx(values[place - reach : place + reach + 1].mean(), abs=1e-12)
    assert smooth[0] == values[0]


def test_thinning_keeps_what_sticks_out() -> None:
    rng = np.random.default_rng(0)
    steps, values = np.arange(50_000.0), rng.normal(0, 1, 50_000)
    values[[1234, 40_000]] = 30.0, -20.0
    x, y = _thin((steps, values))
    assert len(x) <= 4000
    assert (np.diff(x) > 0).all()
    assert (values[x.astype(int)] == y).all()
    assert {(1234.0, 30.0), (40_000.0, -20.0)} <= set(zip(x, y, strict=True))
    assert _thin((steps[:100], values[:100]))[1] is not None
    np.testing.assert_array_equal(_thin((steps[:100], values[:100]))[1], values[:100])


def test_curves_hold_finite_points_only() -> None:
    steps, values = _curve([{"step": 1, "a": 2.0}, {"step": 2}, {"step": 3, "a": math.nan}, {"step": 4, "a": 1.0}], "a")
    assert (steps.tolist(), values.tolist()) == ([1.0, 4.0], [2.0, 1.0])


# --- pictures ---------------------------------------------------------------------------------------------------------

CASES: dict[str, list[dict[str, float]]] = {
    "usual": run_of(200),
    "overfit": run_of(200, rise=0.6),
    "overfit early": run_of(200, rise=0.6, best=0.1, every=10),
    "overfit late": run_of(200, rise=4.0, best=0.9, every=10),
    "overfit from the start": run_of(200, start=3.0, rise=0.6, best=0.0),
    "one step": run_of(1)[1:],
    "before the first step": run_of(1)[:1],
    "no validation": without(run_of(30)[1:], "val_", "task_"),
    "only losses": [{"step": step, "loss": 1 / step} for step in range(1, 9)],
    "tokenizer": run_of(200, kind="tokenizer", task=False, start=30.0, floor=0.2),
    "no number at the end": [*run_of(100), {"step": 101, "lr": 1e-3, "loss": math.nan, "val_loss": math.nan}],
    "thousands of steps": run_of(9000, every=500),
    "no gradient norm": without(run_of(50), "grad_norm"),
    "all the same": [{"step": step, "lr": 0.0, "loss": 0.0, "val_loss": 0.0, "task_crps": 0.0} for step in range(5)],
    "many parts": [{"step": step, **{f"part_number_{i}": i + 1 / (step + 1) for i in range(7)}} for step in range(9)],
    "nothing yet": [],
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_is_drawn_with_nothing_on_top_of_anything(case: str) -> None:
    figure = _draw(case, [("a stage of a name that is rather long, and longer", CASES[case])])
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = list(figure.texts)
    for pane in figure.axes:
        texts += [text for text in pane.texts if text.get_text()]
        texts += numbers_of(pane.xaxis, pane.get_xlim()) + numbers_of(pane.yaxis, pane.get_ylim())
        legend = pane.get_legend()
        texts += [] if legend is None else legend.get_texts()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for (one, a), (other, b) in combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        along = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0.5 or along <= 0.5, (one, other)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text


def numbers_of(axis: Any, bounds: tuple[float, float]) -> list[Any]:
    """The labels of an axis that are to be seen; matplotlib keeps one more at either end."""
    if not axis.get_visible():
        return []
    pairs = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
    return [label for place, label in pairs if label.get_text() and bounds[0] <= place <= bounds[1]]


def test_what_the_chart_says() -> None:
    lines = run_of(200, rise=0.6)
    best = min((line for line in lines if "val_loss" in line), key=lambda line: line["val_loss"])
    figure = _draw("mine", [("predictor", lines)])
    said = words(figure)
    assert "mine" in said
    assert overfitting(lines) in said
    assert f" best {best['val_loss']:.4g} at step {best['step']} " in said
    assert "overfitting" in said
    facts = next(text for text in said if "steps" in text)
    assert facts.startswith(
        f"200 steps  ·  best validation loss {best['val_loss']:.4f} at step {best['step']}  ·  best CRPS"
    )
    assert "(volatility baseline 0.0112)  ·  90% intervals hold 87%  ·  12,345 tokens/s" in facts
    titles = [pane.texts[0].get_text() for pane in figure.axes[:3]]
    assert titles == ["loss", "learning rate", "CRPS"]
    calm = words(_draw("mine", [("predictor", run_of(200))]))
    assert "overfitting" not in calm
    assert not any("overfitting" in text for text in calm)


def test_the_best_is_where_it_is_and_the_shade_begins_there() -> None:
    lines = run_of(200, rise=0.6)
    held = [(line["step"], line["val_loss"]) for line in lines if "val_loss" in line]
    best = min(held, key=lambda point: point[1])
    pane = _draw("mine", [("predictor", lines)]).axes[0]
    curves = {str(line.get_label()): line for line in pane.lines}
    np.testing.assert_array_equal(np.column_stack(curves["validation"].get_data()), held)
    dots = [line.get_data() for line in pane.lines if line.get_markersize() > 6]
    assert [(float(x[0]), float(y[0])) for x, y in dots if line_is_dot(x)] == [best]
    [shade] = pane.patches
    left, right = shade.get_extents().transformed(pane.transData.inverted()).intervalx
    assert (left, right) == pytest.approx((best[0], 200))
    low, high = pane.get_ylim()
    raw = np.array([line["loss"] for line in lines if line["step"] > 20])
    assert low < raw.min() < raw.max() < high


def line_is_dot(x: Any) -> bool:
    return len(np.atleast_1d(x)) == 1


def test_a_loss_that_is_no_number_is_said() -> None:
    said = words(_draw("mine", [("", CASES["no number at the end"])]))
    assert "the loss has been no number since step 101" in said


def test_a_long_name_keeps_its_ends_and_a_dollar_is_no_formula() -> None:
    name = "begin " + "a-folder-of-a-very-long-name-" * 20 + " x_$1$ end"
    figure = _draw(name, [("predictor", CASES["usual"]), (name, CASES["usual"])])
    heads = [text for text in figure.texts if text.get_text().startswith("begin")]
    assert len(heads) == 2
    for text in heads:
        assert text.get_text().endswith("$1$ end")
        assert "…" in text.get_text()
        assert text.get_window_extent().x1 <= figure.bbox.width
    assert len(figure.axes) == 2 * 4  # three panes a row, and the gradient norm's axis


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_stages_of_a_run_in_order(tmp_path: Path) -> None:
    for member, stage in product((10, 2, 1), ("predictor", "tokenizer")):
        put(tmp_path / f"member-{member}" / "runs" / stage, run_of(2))
    put(tmp_path / ".thrown-away" / "runs" / "tokenizer", run_of(2))
    names = [name for name, _ in _stages(tmp_path)]
    assert names == [f"member-{m} · {stage}" for m in (1, 2, 10) for stage in ("tokenizer", "predictor")]
    assert _stages(tmp_path / "member-1" / "runs" / "tokenizer") == [("", tmp_path / "member-1" / "runs" / "tokenizer")]
    assert [name for name, _ in _stages(tmp_path / "member-2")] == ["tokenizer", "predictor"]


def test_pictures_are_written_where_asked(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    run = tmp_path / "run"
    stage = put(run / "runs" / "predictor", run_of(30))
    put(run / "runs" / "tokenizer", [])
    with (stage / METRICS_FILE).open("a") as file:
        file.write('{"step": 31, "lo')  # a run that is still going
    assert draw_run(run) == run / "training.png"
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")
    assert draw_run(stage, tmp_path / "x.svg") == tmp_path / "x.svg"
    assert "<svg" in (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert sorted(path.name for path in run.iterdir()) == ["runs", "training.png"]
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SourceError, match=r"there is no metrics\.jsonl in this folder or below it"):
            draw_run(place)
    empty = put(tmp_path / "empty", [])
    with pytest.raises(SourceError, match="nothing has been logged yet"):
        draw_run(empty)
    stage = put(tmp_path / "stage", run_of(3))
    with pytest.raises(ConfigError, match=r"written as \.png, \.svg or \.pdf"):
        draw_run(stage, tmp_path / "picture.jpeg")
    (stage / METRICS_FILE).write_text("{}\n")
    with pytest.raises(SourceError, match="line 1 is damaged"):
        draw_run(stage)
