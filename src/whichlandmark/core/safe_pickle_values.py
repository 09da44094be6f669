"""The values of a pickle that is read without running it: stand-ins, arrays from bytes, limits.

`safe_pickle` interprets the program and makes these stand-ins; `resolve` turns them into values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_VALUES = 2_000_000  # of the result; also when what is shared is written out each time

MAX_DEPTH = 40

MAX_TYPE_CHARACTERS = 16

MAX_KEY = 1 << 60  # larger numbers as keys can be made to collide

_NUMBER_TYPE = re.compile(r"[<>=|]?(\?|[bBhHiIlLqQfd]|b1|[iu][1248]|f[248]|c8|c16)", re.ASCII)

_TEXT_TYPE = re.compile(r"[<>=|]?([SUa])(\d{1,7})", re.ASCII)

_OBJECT_TYPE = re.compile(r"\|?O[48]?", re.ASCII)

# (module, name) → what it stands for. Modules were renamed in Python 3 and in numpy 2.
_NAMES = {
    **{
        (f"numpy.{core}.{module}", name): name
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"),
                             ("numeric", "_frombuffer"))
    },
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{
        (module, name): name
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "bytes", "bytearray")
    },
}  # fmt: skip


_LATIN_1 = ((), ("latin1",), ("latin-1",), (b"latin1",))  # how bytes are written as text

Spend = Callable[[int], None]  # called with the bytes of each copy; raises when they are too many


class RefusedError(Exception):
    """What is wrong with the file, in words."""


class OldText(bytes):
    """A `str` of Python 2: text, or the bytes of an array."""


@dataclass(frozen=True)
class Name:
    """A name of `_NAMES`; it stands for itself and is never looked up."""

    name: str


@dataclass(eq=False)
class Type:
    """A dtype, complete when its byte order was set."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        """Of plain numbers or text; an error for everything else."""
        text = _TEXT_TYPE.fullmatch(self.code)
        if not (text or _NUMBER_TYPE.fullmatch(self.code)):
            raise RefusedError(f"an array of type {self.code[:40]!r}")
        found = np.dtype(self.code)
        if self.order == "<":
            return found.newbyteorder("<")
        return found.newbyteorder(">") if self.order == ">" else found

    @property
    def holds_objects(self) -> bool:
        return _OBJECT_TYPE.fullmatch(self.code) is not None


@dataclass(eq=False)
class Array:
    """An array; `value` is set when its bytes are known, `objects` for arrays of objects."""

    value: NDArray[Any] | None = None
    shape: tuple[int, ...] = ()
    objects: list[Any] | None = None
    columns_first: bool = False


@dataclass(eq=False)
class Set:
    """A set. sealed: its members are another value's, and no more can be added."""

    members: list[Any] | tuple[Any, ...] = field(default_factory=list)
    frozen: bool = False
    sealed: bool = False


def named(module: str, name: str) -> Name:
    if (module, name) not in _NAMES:
        raise RefusedError(f"{f'{module}.{name}'[:80]!r}")
    return Name(_NAMES[module, name])


def short_text(value: Any) -> str:
    """A name or a code of a type. Raises RefusedError for what cannot be one."""
    if not isinstance(value, str | bytes) or len(value) > 200:
        raise RefusedError(f"{type(value).__name__.lower()} in the place of a name")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def dict_of(parts: list[Any], spend: Spend) -> dict[Any, Any]:
    """A dict from keys and values in turn."""
    if len(parts) % 2:
        raise ValueError("a dict with a key and no value")
    return {_key(key, spend): value for key, value in zip(parts[::2], parts[1::2], strict=True)}


def _key(key: Any, spend: Spend) -> Any:
    """A key of a dict or member of a set whose hash no file can choose."""
    if isinstance(key, OldText):
        spend(len(key))
        return _old_text(key)
    if type(key) in (str, bytes, bool, type(None)) or (type(key) is int and abs(key) < MAX_KEY):
        return key
    what = "a very large number" if type(key) is int else f"a {type(key).__name__.lower()}"
    raise RefusedError(f"{what} as a key, or in a set")


def _old_text(value: bytes) -> str:
    """Text of Python 2, whose encoding nobody wrote down: UTF-8 where it is that, else Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def made(name: str, given: tuple[Any, ...], spend: Spend) -> Any:
    """What the call of a name of `_NAMES` stands for."""
    if name == "_reconstruct" and given and given[0] == Name("ndarray"):
        return Array()
    if name == "dtype" and given:
        return Type(short_text(given[0])[: MAX_TYPE_CHARACTERS + 1])
    if name == "_frombuffer" and len(given) == 4:
        array = Array()
        fill(array, given[2], given[1], given[3] == "F", given[0])
        return array
    if name == "scalar" and len(given) == 2 and type(given[0]) is Type:
        if given[0].holds_objects:
            return given[1]
        one = Array()
        fill(one, (1,), given[0], False, given[1])
        return one.value[0] if one.value is not None else None
    if name == "encode" and given and type(given[0]) is str and given[1:] in _LATIN_1:
        spend(len(given[0]))
        return given[0].encode("latin-1")
    if name in ("set", "frozenset") and len(given) <= 1:
        members = given[0] if given else ()
        if type(members) in (list, tuple):
            return Set(members, frozen=name == "frozenset", sealed=True)
    if name in ("bytes", "bytearray") and (not given or isinstance(given[0], bytes)):
        spend(len(given[0]) if given else 0)
        return bytes(given[0]) if given else b""
    raise RefusedError(f"a call of {name!r} with other values than it takes")


def fill(array: Array, shape: Any, kind: Any, columns_first: Any, data: Any) -> None:
    """Give an array its shape and values. The bytes must be exactly those of the shape."""
    sides = shape if type(shape) is tuple else (shape,)
    if len(sides) > 32 or not all(type(side) is int and 0 <= side < 2**63 for side in sides):
        raise RefusedError("an array whose shape is not a few whole numbers")
    if type(kind) is not Type:
        raise RefusedError("an array without a type")
    size = math.prod(sides)
    array.shape, array.columns_first = sides, bool(columns_first)
    if kind.holds_objects:
        if type(data) is not list or len(data) != size:
            raise RefusedError(f"an array of objects of shape {str(sides)[:60]} with other values")
        array.objects = data
        return
    found = kind.dtype()
    if not isinstance(data, bytes) or len(data) != size * found.itemsize:
        has = len(data) if isinstance(data, bytes) else "no"
        raise RefusedError(
            f"an array of shape {str(sides)[:60]} and type {found} with {has} bytes of values"
        )
    if found.itemsize == 0 or size == 0:
        array.value = np.zeros(sides if size == 0 else (0,), found)
        return
    array.value = np.frombuffer(data, found).reshape(sides, order="F" if columns_first else "C")


class Resolver:
    """Stand-ins → values, depth and size bounded. A shared value is resolved once, and shared."""

    def __init__(self, spend: Spend) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._spend = spend
        self._left = MAX_VALUES

    def resolve(self, value: Any, depth: int) -> tuple[Any, int]:
        """The value, and how many values it is when written out."""
        if isinstance(value, Name | Type):
            raise RefusedError("a name or a type in the place of a value")
        if not isinstance(value, list | tuple | dict | Set | Array | OldText):
            return value, 1
        if (known := self._done.get(id(value))) is not None:
            return known
        if id(value) in self._open:
            raise RefusedError("a value that holds itself")
        if depth >= MAX_DEPTH:
            raise RefusedError(f"values nested more than {MAX_DEPTH} deep")
        self._open.add(id(value))
        found = self._container(value, depth + 1)
        self._open.remove(id(value))
        if found[1] > MAX_VALUES:
            raise RefusedError(f"more than {MAX_VALUES} values when written out")
        self._done[id(value)] = found
        return found

    def _container(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, OldText):
            return _old_text(value), 1
        if isinstance(value, Array):
            if value.objects is None:
                if value.value is None:
                    raise RefusedError("an array without values")
                return value.value, 1
            parts, size = self._all(value.objects, depth)
            array = np.empty(len(parts), dtype=object)
            array[:] = parts
            return array.reshape(value.shape, order="F" if value.columns_first else "C"), size
        if isinstance(value, dict):
            parts, size = self._all(value.values(), depth)
            return dict(zip(value, parts, strict=True)), size
        if isinstance(value, Set):
            self._count(len(value.members))
            members = [_key(member, self._spend) for member in value.members]
            return (frozenset if value.frozen else set)(members), len(members) + 1
        parts, size = self._all(value, depth)
        return parts if isinstance(value, list) else tuple(parts), size

    def _all(self, values: Any, depth: int) -> tuple[list[Any], int]:
        self._count(len(values))
        found = [self.resolve(value, depth) for value in values]
        return [value for value, _ in found], 1 + sum(size for _, size in found)

    def _count(self, values: int) -> None:
        """Count values before they are made: a list may be shared by many arrays and sets."""
        self._left -= values
        if self._left < 0:
            raise RefusedError(f"more than {MAX_VALUES} values")
