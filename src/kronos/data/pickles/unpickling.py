"""Pickles read as data: what a pickle says is written down and none of it is done.

A pickle is a program, and running a foreign one runs whatever it says. Here its steps are followed on plain values; a
class or function is only a name, which must be in `allowed`, and calling it makes a `Record` of the name and its
arguments. Nothing is imported and nothing is called. `pickled_frames` makes frames of the records.
"""

import pickletools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

# Frames take about 150 steps each whatever their length; a bomb takes one for each object it makes.
MOST_STEPS = 1_000_000

_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SMALL_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_STEP = {"PROTO", "FRAME"}


class RefusedError(Exception):
    """The pickle holds what it must not, or is no pickle; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that the pickle names."""

    name: str


@dataclass(slots=True)
class Record:
    """What a pickle wants to have made: by calling `made_by`, with a state set on it afterwards."""

    made_by: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    state: Any = None


_MARK = Name("(mark)")


def read_records(content: bytes, allowed: Collection[str]) -> Any:
    """The value that a pickle describes, of plain values and records; `RefusedError` for anything else."""
    machine = _Machine(allowed)
    position: int | None = 0
    try:
        for steps, (opcode, argument, place) in enumerate(pickletools.genops(content)):
            position = place
            if steps >= MOST_STEPS:
                raise RefusedError(f"more than {MOST_STEPS:,} steps, which frames never need")
            if opcode.name == "STOP":
                return machine.result()
            machine.step(opcode.name, argument)
    except RefusedError as error:
        raise RefusedError(f"byte {position}: {error}") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise RefusedError(f"it is damaged or no pickle ({' '.join(str(error).split())[:100]})") from error
    raise RefusedError("it ends before it is complete")


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self, allowed: Collection[str]) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}  # never a list: its size would be the pickle's to choose

    def result(self) -> Any:
        if len(self.stack) != 1:
            raise RefusedError("it does not end with one value")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        """Follow one step."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _SMALL_TUPLES:
            self.stack.append(tuple(self._take(_SMALL_TUPLES[name])))
        elif name not in _NO_STEP:
            act = getattr(self, f"_{name.lower()}", None)
            if act is None:
                raise RefusedError(f"step {name}, which frames never need")
            act(argument)

    # --- memory and marks ---

    def _memoize(self, _: None) -> None:
        self.memory[len(self.memory)] = self.stack[-1]

    def _binput(self, place: int) -> None:
        self.memory[place] = self.stack[-1]

    def _binget(self, place: int) -> None:
        self.stack.append(self.memory[place])

    _long_binput, _long_binget = _binput, _binget

    def _mark(self, _: None) -> None:
        self.stack.append(_MARK)

    def _take(self, count: int) -> list[Any]:
        """The last values of the stack."""
        if count > len(self.stack):
            raise IndexError("the stack is too short")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        if any(value is _MARK for value in values):
            raise IndexError("a mark among values")
        return values

    def _to_mark(self) -> list[Any]:
        """The values since the last mark, which goes with them."""
        count = 0
        while self.stack[-1 - count] is not _MARK:
            count += 1
        values = self._take(count)
        self.stack.pop()
        return values

    # --- containers ---

    def _tuple(self, _: None) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _empty_list(self, _: None) -> None:
        self.stack.append([])

    def _empty_dict(self, _: None) -> None:
        self.stack.append({})

    def _append(self, _: None) -> None:
        self._extend(self._take(1))

    def _appends(self, _: None) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError("values are appended to what is no list")
        self.stack[-1].extend(values)

    def _setitem(self, _: None) -> None:
        self._update(self._take(2))

    def _setitems(self, _: None) -> None:
        self._update(self._to_mark())

    def _update(self, pairs: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise RefusedError("values are set in what is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) is not str:  # anything deeper would be hashed, however deep it is
                raise RefusedError(f"a key of the kind {type(key).__name__}; keys must be texts")
            self.stack[-1][key] = value

    # --- names and what is made by them ---

    def _global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def _stack_global(self, _: None) -> None:
        module, name = self._take(2)
        if type(module) is not str or type(name) is not str:
            raise RefusedError("a name that is no text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self.allowed:
            raise RefusedError(f"{full[:100]} is not a part of a frame")
        self.stack.append(Name(full))

    def _reduce(self, _: None) -> None:
        made_by, args = self._take(2)
        self._make(made_by, args, {})

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        self._make(*self._take(3))

    def _make(self, made_by: Any, args: Any, kwargs: Any) -> None:
        if type(made_by) is not Name or type(args) is not tuple or type(kwargs) is not dict:
            raise RefusedError("something is called that is no part of a frame")
        self.stack.append(Record(made_by.name, args, kwargs))

    def _build(self, _: None) -> None:
        made, state = self._take(2)
        if type(made) is not Record:
            raise RefusedError("a state is set on what was not made here")
        made.state = state
        self.stack.append(made)
