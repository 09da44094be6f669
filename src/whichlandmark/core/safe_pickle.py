"""Read pickles of plain values: containers, numbers, text and numpy arrays; nothing is ever called.

A pickle is a program for a small stack machine, and Python's own reader lets that program import
and call anything. This module interprets the program itself. Names that it mentions are compared
with a short list and are never looked up; the few "calls" on the list (making an array, a dtype, a
number of numpy, a set, bytes) are done here, from bytes that are in the file. So the worst that a
file can do is to be refused. Pickles of protocols 0 to 5, of Python 2 and 3, of numpy 1 and 2.

It is bounded: the file's bytes, its steps, how deep values nest, how large they are when written
out (a list that holds another one twice, which holds another one twice …), and an array is exactly
as large as the bytes that the file has for it.

Not Python's `Unpickler` with a `find_class` of our own: its memo is an array, so that ten bytes
with a large index take gigabytes, and what it calls depends on the values that it meets.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .disks import read_error, refuse_special
from .errors import DataError
from .safe_pickle_values import (
    Array,
    Name,
    OldText,
    RefusedError,
    Resolver,
    Set,
    Type,
    dict_of,
    fill,
    made,
    named,
    short_text,
)

MAX_BYTES = 128_000_000

MAX_STEPS = 2_000_000  # opcodes; each makes at most one object of a few hundred bytes

MAX_COPIED_BYTES = 2 * MAX_BYTES  # of text and bytes that are made from others

MAX_NUMBER_BYTES = 256  # of a whole number

_MARK = object()


def load_plain(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """The plain value in a pickle file.

    Returns:
        Made of dict, list, tuple, set, frozenset, str, bytes, bool, int, float, None and numpy
        arrays and numbers. Text of Python 2 is str.

    Raises:
        DataError: When the file is missing, too large, cut short, or holds anything else; one line.
    """
    refuse_special(path)
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    if len(data) > max_bytes:
        raise DataError(f"{path}: a pickle of more than {max_bytes / 1e6:g} MB; not read")
    return parse_plain(data, str(path))


def parse_plain(data: bytes, name: str = "pickle") -> Any:
    """As `load_plain`, of a file's bytes; `name` is for the error."""
    try:
        if not data.rstrip(b"\r\n\0 ").endswith(b"."):
            raise ValueError("it does not end as one")
        machine = _Machine(data)
        return Resolver(machine.spend).resolve(machine.run(), 0)[0]
    except RefusedError as error:
        raise DataError(
            f"{name}: this pickle holds {error}; only containers, numbers, text and numpy arrays "
            "are read, and nothing is ever run: give the same as JSON"
        ) from None
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, struct.error) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{name}: not a pickle, damaged or cut short ({reason})") from None


class _Machine:
    """The stack machine. Every method of `_steps` is one opcode."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._copies_left = MAX_COPIED_BYTES

    def spend(self, size: int) -> None:
        """Count bytes that are copied: one text of the file may be copied very often."""
        self._copies_left -= size
        if self._copies_left < 0:
            raise RefusedError(f"more than {MAX_COPIED_BYTES / 1e6:g} MB of text, written out")

    def run(self) -> Any:
        steps = self._steps()
        for _ in range(MAX_STEPS):
            code = self._take(1)[0]
            if code == 0x2E:  # "."
                if len(self._stack) != 1:
                    raise ValueError(f"{len(self._stack)} values at its end")
                return self._pop()
            if code not in steps:
                raise ValueError(f"unknown instruction {code:#x} at byte {self._at - 1}")
            steps[code]()
        raise RefusedError(f"more than {MAX_STEPS} instructions")

    # Reading

    def _take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise ValueError(f"{size} bytes expected at byte {self._at}, {len(found)} are left")
        self._at += size
        return found

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> bytes:
        end = self._data.index(b"\n", self._at)
        found, self._at = self._data[self._at : end], end + 1
        return found

    def _short_line(self) -> bytes:
        line = self._line()
        if len(line) > 2 * MAX_NUMBER_BYTES:
            raise RefusedError("a very long number")
        return line

    def _text_number(self) -> int:
        return int(self._short_line().rstrip(b"L"))

    # The stack

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark in the place of a value")
        return value

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        found = self._stack[at + 1 :]
        del self._stack[at:]
        return found

    def _top(self, kind: type) -> Any:
        if not self._stack or type(self._stack[-1]) is not kind:
            raise RefusedError(f"an instruction for a {kind.__name__.strip('_').lower()} elsewhere")
        return self._stack[-1]

    def _steps(self) -> dict[int, Callable[[], object]]:
        push, take, number, line = self._push, self._take, self._number, self._line
        steps: dict[str, Callable[[], object]] = {
            "(": lambda: push(_MARK), "0": self._stack.pop, "1": self._since_mark,
            "2": lambda: push(self._stack[-1]), "N": lambda: push(None),
            "\x88": lambda: push(True), "\x89": lambda: push(False),
            "I": lambda: push(self._integer()), "L": lambda: push(self._text_number()),
            "J": lambda: push(number("<i")), "K": lambda: push(number("<B")),
            "M": lambda: push(number("<H")), "F": lambda: push(float(self._short_line())),
            "G": lambda: push(number(">d")),
            "\x8a": lambda: push(self._long(number("<B"))),
            "\x8b": lambda: push(self._long(number("<i"))),
            "S": lambda: push(_quoted(line())),
            "T": lambda: push(OldText(take(number("<I")))),
            "U": lambda: push(OldText(take(number("<B")))),
            "V": lambda: push(line().decode("raw-unicode-escape")),
            "X": lambda: push(_text(take(number("<I")))),
            "\x8c": lambda: push(_text(take(number("<B")))),
            "\x8d": lambda: push(_text(take(number("<Q")))),
            "B": lambda: push(take(number("<I"))), "C": lambda: push(take(number("<B"))),
            "\x8e": lambda: push(take(number("<Q"))), "\x96": lambda: push(take(number("<Q"))),
            "]": lambda: push([]), "}": lambda: push({}), ")": lambda: push(()),
            "\x8f": lambda: push(Set()),
            "l": lambda: push(self._since_mark()), "t": lambda: push(tuple(self._since_mark())),
            "d": lambda: push(dict_of(self._since_mark(), self.spend)),
            "\x91": lambda: push(Set(self._since_mark(), frozen=True)),
            "\x85": lambda: push(self._tuple(1)), "\x86": lambda: push(self._tuple(2)),
            "\x87": lambda: push(self._tuple(3)),
            "a": self._append, "e": lambda: self._extend(self._since_mark()),
            "s": self._set_item, "u": lambda: self._update(self._since_mark()),
            "\x90": lambda: self._add(self._since_mark()),
            "g": lambda: push(self._memo[self._text_number()]),
            "h": lambda: push(self._memo[number("<B")]),
            "j": lambda: push(self._memo[number("<I")]),
            "p": lambda: self._put(self._text_number()), "q": lambda: self._put(number("<B")),
            "r": lambda: self._put(number("<I")), "\x94": lambda: self._put(len(self._memo)),
            "\x80": self._protocol, "\x95": lambda: number("<Q"),
            "c": lambda: push(named(_text(line()), _text(line()))), "\x93": self._named,
            "R": self._reduce, "b": self._build,
            **dict.fromkeys("PQ", lambda: _refuse("objects kept outside of it")),
            **dict.fromkeys("\x97\x98", lambda: _refuse("buffers kept outside of it")),
            **dict.fromkeys("io\x81\x92\x82\x83\x84", lambda: _refuse("objects of classes")),
        }  # fmt: skip
        return {ord(code): step for code, step in steps.items()}

    # Instructions that are more than a push

    def _protocol(self) -> None:
        if (number := self._take(1)[0]) > 5:
            raise RefusedError(f"protocol {number}, while 0 to 5 are known")

    def _integer(self) -> int | bool:
        start = self._at
        if self._line() in (b"00", b"01"):
            return self._data[start + 1] == 0x31
        self._at = start
        return self._text_number()

    def _long(self, size: int) -> int:
        if not 0 <= size <= MAX_NUMBER_BYTES:
            raise RefusedError("a very long number")
        return int.from_bytes(self._take(size), "little", signed=True)

    def _tuple(self, size: int) -> tuple[Any, ...]:
        parts = [self._pop() for _ in range(size)]
        return tuple(reversed(parts))

    def _put(self, number: int) -> None:
        if self._stack[-1] is _MARK:
            raise ValueError("a mark in the place of a value")
        self._memo[number] = self._stack[-1]

    def _append(self) -> None:
        self._extend([self._pop()])

    def _extend(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._update([key, value])

    def _update(self, parts: list[Any]) -> None:
        self._top(dict).update(dict_of(parts, self.spend))

    def _add(self, values: list[Any]) -> None:
        target = self._top(Set)
        if target.sealed:
            raise RefusedError("a set that is changed after it was made")
        target.members.extend(values)

    def _named(self) -> None:
        name, module = self._pop(), self._pop()
        self._push(named(short_text(module), short_text(name)))

    def _reduce(self) -> None:
        given, name = self._pop(), self._pop()
        if not isinstance(name, Name) or type(given) is not tuple:
            raise RefusedError("a call of something that is not a name")
        self._push(made(name.name, given, self.spend))

    def _build(self) -> None:
        state = self._pop()
        target = self._stack[-1]
        if type(target) is Type and type(state) is tuple and len(state) >= 5:
            if any(part is not None for part in state[2:5]):
                raise RefusedError("an array of records")
            target.order = short_text(state[1])
        elif type(target) is Array and type(state) is tuple and len(state) == 5:
            fill(target, *state[1:])
        else:
            raise RefusedError("an object with a state")


def _refuse(what: str) -> None:
    raise RefusedError(what)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _quoted(line: bytes) -> OldText:
    """The text in quotes of a protocol-0 string, whose escapes are those of Python's bytes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    escaped = line[1:-1].decode("latin-1")
    plain = re.sub(
        r"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|[\s\S])", lambda found: _unescaped(found[1]), escaped
    )
    return OldText(plain.encode("latin-1"))


def _unescaped(escape: str) -> str:
    if escape[0] == "x" and len(escape) == 3:
        return chr(int(escape[1:], 16))
    if escape[0] in "01234567":
        return chr(int(escape, 8) & 255)
    return {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}.get(
        escape, escape if escape in "\\'\"" else "\\" + escape
    )
