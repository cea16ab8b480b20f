"""Candles: what is invalid is found, and what is mended is valid, once and for all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kronos.bars.candles import AMOUNT, CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME, Array, invalid, repair

GOOD = np.array([10.0, 12.0, 9.0, 11.0, 5.0, 55.0])
numbers = st.floats(-1e9, 1e9, allow_nan=False)
candles = array_shapes(max_dims=2, max_side=8).flatmap(lambda shape: arrays(np.float64, (*shape, 6), elements=numbers))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (HIGH, 10.5),  # below the close
        (HIGH, 9.5),  # below the open
        (LOW, 10.5),  # above the open
        (LOW, 0.0),
        (VOLUME, -1.0),
        (AMOUNT, -1.0),
        *((column, np.nan) for column in range(6)),
        (HIGH, np.inf),
        (AMOUNT, np.inf),
    ],
)
def test_every_broken_rule_is_found(column: int, value: float) -> None:
    bad = GOOD.copy()
    bad[column] = value
    assert not invalid(GOOD)
    assert invalid(np.stack([GOOD, bad])).tolist() == [False, True]


def test_columns_are_named_by_their_indices() -> None:
    assert [COLUMNS[number] for number in (OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT)] == list(COLUMNS)


@settings(max_examples=60, deadline=None)
@given(candles, st.floats(1e-9, 1e6))
def test_repair_makes_valid_once_and_for_all(raw: Array, floor: float) -> None:
    before = raw.copy()
    mended, count = repair(raw, floor)
    assert np.array_equal(raw, before)
    assert mended.shape == raw.shape
    assert not invalid(mended).any()
    assert mended[..., LOW].min() >= floor
    assert count == (mended != raw).any(axis=-1).sum()
    again, none = repair(mended, floor)
    assert none == 0
    assert np.array_equal(again, mended)


@settings(max_examples=60, deadline=None)
@given(candles)
def test_repair_believes_the_body_and_leaves_the_valid_alone(raw: Array) -> None:
    mended, _ = repair(raw, 1e-9)
    kept = raw[..., [OPEN, CLOSE]] >= 1e-9
    assert np.array_equal(mended[..., [OPEN, CLOSE]][kept], raw[..., [OPEN, CLOSE]][kept])
    fine = ~invalid(raw) & (raw[..., LOW] >= 1e-9)
    assert np.array_equal(mended[fine], raw[fine])
