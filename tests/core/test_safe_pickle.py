"""Pickles are read without running them: all protocols, old and new numpy, hostile files."""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whichlandmark.core.errors import DataError
from whichlandmark.core.safe_pickle import load_plain, parse_plain

PLAIN = {
    "text": ["a", "é", "日本", "", "'\"\\\n\x00"],
    "numbers": (0, -1, 255, 256, 65536, -(2**31), 2**31, 2**70, -(2**70), 1.5, -0.0, 1e300),
    "flags": [True, False, None],
    "bytes": [b"", b"abc", bytes(range(256))],
    "sets": {1, 2, 3},
    "frozen": frozenset({"x"}),
    "nested": {"a": {"b": [({"c": []},)]}, 3: "three", None: 1, b"k": 2},
    "empty": [[], {}, (), set()],
}

ARRAYS = {
    "int64": np.arange(6).reshape(2, 3),
    "int32": np.arange(3, dtype=np.int32),
    "big": np.arange(3, dtype=">i4"),
    "float32": np.linspace(0, 1, 5, dtype=np.float32),
    "float64": np.array([[1.5, -2.0]]),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 4), dtype=np.int64),
    "no dimension": np.array(3.5),
    "bool": np.array([True, False]),
    "uint8": np.arange(256, dtype=np.uint8),
    "text": np.array(["ab", "é"]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array(["a", 1, None, [2]], dtype=object),
    "arrays": np.array([np.arange(2), np.arange(3)], dtype=object),
    "complex": np.array([1 + 2j]),
}


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types, all the way down."""
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray) or a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            return False
        if a.dtype == object:
            return all(map(same, a.ravel(), b.ravel()))
        return bool(np.array_equal(a, b))
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(protocol: int) -> None:
    assert same(parse_plain(pickle.dumps(PLAIN, protocol)), PLAIN)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_protocol(protocol: int, name: str) -> None:
    array = ARRAYS[name]
    assert same(parse_plain(pickle.dumps([array, array], protocol)), [array, array])


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_numbers(protocol: int) -> None:
    numbers = [np.int64(7), np.float32(0.5), np.bool_(True), np.str_("é"), np.float64(-1)]
    found = parse_plain(pickle.dumps(numbers, protocol))
    assert found == numbers
    assert [type(n) for n in found] == [type(n) for n in numbers]


def test_names_of_numpy_1_and_2() -> None:
    new = pickle.dumps(np.arange(4), 2)
    assert b"numpy._core" in new
    old = new.replace(b"numpy._core", b"numpy.core")
    assert same(parse_plain(old), np.arange(4))


def test_pickles_of_python_2() -> None:
    """As Python 2 wrote them: `str` is bytes, also those of an array; latin-1 and UTF-8 names."""
    simple = (
        b"(dp0\nS'imlist'\np1\n(lp2\nS'all_souls'\np3\naS'caf\\xc3\\xa9'\np4\naS'caf\\xe9'\np5\nas."
    )
    assert parse_plain(simple) == {"imlist": ["all_souls", "café", "café"]}
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\n"
        b"tp4\nRp5\n(I1\n(I2\ntp6\ncnumpy\ndtype\np7\n(S'i4'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\n"
        b"p11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS'\\x01\\x00\\x00\\x00\\xff\\xff\\xff\\xff'\np13\ntp14\nb."
    )
    assert same(parse_plain(array), np.array([1, -1], dtype=np.int32))
    assert pickle.loads(array, encoding="latin1").tolist() == [1, -1]  # noqa: S301 (our own bytes)
    binary = b"\x80\x02}q\x00U\x04nameq\x01U\x03\xe9t\xe9q\x02s."
    assert parse_plain(binary) == {"name": "été"}
    assert parse_plain(b"I01\n.") is True
    assert parse_plain(b"L12L\n.") == 12


def random_value(rng: random.Random, depth: int = 0) -> Any:
    """Containers of numbers, text, bytes and arrays, nested at random."""
    kind = rng.randrange(6 if depth > 3 else 10)
    if kind < 2:
        return rng.choice([None, True, 0, -1, 2**31, -(2**40), 2**100, 0.1, -1e300, float("inf")])
    if kind < 4:
        return "".join(rng.choice("aé日\n\\'\x00🏰") for _ in range(rng.randrange(12)))
    if kind == 4:
        return rng.randbytes(rng.choice([0, 3, 300]))
    if kind == 5:
        dtype = rng.choice(["<i4", ">f8", "?", "u1", "<U3", "S2", "<c16"])
        shape = [rng.randrange(4) for _ in range(rng.randrange(3))]
        return np.arange(24).astype(dtype)[: int(np.prod(shape))].reshape(shape)
    parts = [random_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 6:
        return tuple(parts)
    if kind == 7:
        return {rng.choice(["a", "b", 3, None, b"k"]): part for part in parts}
    if kind == 8:
        return {rng.choice(["a", 7, b"k"]) for _ in parts}
    return [*parts, *parts[:1]]  # one of them shared


@pytest.mark.parametrize("protocol", range(6))
def test_random_values_are_as_python_reads_them(protocol: int) -> None:
    rng = random.Random(protocol)
    for _ in range(60):
        data = pickle.dumps(random_value(rng), protocol)
        assert same(parse_plain(data), pickle.loads(data))  # noqa: S301 (our own bytes)


def test_shared_values_stay_shared() -> None:
    row = [1, 2]
    found = parse_plain(pickle.dumps([row, row]))
    assert found == [row, row]
    assert found[0] is found[1]


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


HOSTILE = {
    "system": (Call(__import__("os").system, "touch /tmp/never"), "system"),
    "eval": (Call(eval, "1+1"), "eval"),
    "getattr": (Call(getattr, "x", "upper"), "getattr"),
    "open": (Call(open, "/etc/passwd"), "open"),
    "subprocess": (Call(subprocess.Popen, ["true"]), "Popen"),
    "load of numpy": (Call(np.load, "x.npy"), "load"),
    "in an array": (np.array([Call(eval, "1")], dtype=object), "eval"),
    "in a key": ({"a": [Call(eval, "1")]}, "eval"),
    "class": (Path("/etc"), "Posix"),
    "type": (str, "builtin"),
    "slice": (slice(1, 2), "slice"),
    "range": (range(3), "range"),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_admitted(protocol: int, name: str) -> None:
    value, named = HOSTILE[name]
    with pytest.raises(DataError, match="nothing is ever run") as refused:
        parse_plain(pickle.dumps(value, protocol), "gnd.pkl")
    message = str(refused.value)
    assert message.startswith("gnd.pkl: ")
    assert "\n" not in message
    assert len(message) < 400
    assert named in message


def _array(shape: bytes, code: bytes, data: bytes) -> bytes:
    """A protocol-2 array with this shape (opcodes), dtype and bytes."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(data)])
        + data
        + b"tb."
    )


def laughs(levels: int) -> bytes:
    """A list that holds the one before it ten times, and so on."""
    return b"\x80\x04]\x94" + b"".join(
        b"0]\x94(" + 10 * (b"h" + bytes([level])) + b"e" for level in range(levels)
    ) + b"."  # fmt: skip


def many(prepared: bytes, each: bytes, times: int = 2_000) -> bytes:
    """A list of values that are each made from one that is in the memo as 0."""
    return b"\x80\x02" + prepared + b"q\x000](" + each * times + b"e."


LONG = b"X" + struct.pack("<I", 1_000_000) + b"a" * 1_000_000

OLD = b"T" + LONG[1:]

LIST = b"](" + b"N" * 20_000 + b"e"


BOMBS = {
    "an array of petabytes": _array(b"\x8a\x07\xff\xff\xff\xff\xff\xff\x0f\x85", b"f8", b"1234"),
    "many sides": _array(b"(" + b"K\x02" * 70 + b"t", b"f8", b"1234"),
    "negative sides": _array(b"J\xff\xff\xff\xff\x85", b"f8", b""),
    "a text type of gigabytes": _array(b"K\x01\x85", b"S9999999", b"a"),
    "objects without a list": _array(b"K\x02\x85", b"O8", b"ab"),
    "records": _array(b"K\x01\x85", b"V8", b"12345678"),
    "a comma type": _array(b"K\x01\x85", b"i4,i4", b"12345678"),
    "a memo of gigabytes": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a string of gigabytes": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of exabytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "a frame of exabytes": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.",
    "a number of megabytes": b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 100 + b".",
    "digits": b"I" + b"9" * 100_000 + b"\n.",
    "laughs": laughs(30),
    "depth": b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "itself in a dict": b"\x80\x02}q\x00U\x01ah\x00s.",
    "keys that collide": b"\x80\x02}(" + b"".join(
        b"\x8a\x10" + (i * (2**61 - 1) + 2**64).to_bytes(16, "little") + b"N" for i in range(50)
    ) + b"u.",
    "tuples as keys": pickle.dumps({(1, 2): 3}, 2),
    "a class": b"\x80\x02c__main__\nX\n)\x81.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pabc\n.",
    "a buffer from elsewhere": b"\x80\x05\x97.",
    "an unknown protocol": b"\x80\x09N.",
    "an unknown instruction": b"\x80\x02\xfe.",
    "two values": b"\x80\x02NN.",
    "no value": b"\x80\x02.",
    "a mark": b"(.",
    "nothing": b"",
    "no end": b"\x80\x02N",
    "text": b"id,path,landmark\n1,a.jpg,x\n",
    "a zip": b"PK\x03\x04\x14\x00",
    "a method by reduce": b"\x80\x02U\x01a)R.",
    "a state for a list": b"\x80\x02]}b.",
    "an array without a state": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    b"K\x00\x85U\x01b\x87R.",
    "a name alone": b"\x80\x02cnumpy\nndarray\n.",
    "a name with a dot": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93.",
    "one text encoded very often": many(LONG, b"c_codecs\nencode\nh\x00\x85R"),
    "one text copied very often": many(OLD, b"c__builtin__\nbytes\nh\x00\x85R"),
    "one text as many keys": many(OLD, b"}h\x00Ns"),
    "one list in many sets": many(LIST, b"c__builtin__\nset\nh\x00\x85R"),
    "a set of a list that is added to": many(LIST, b"c__builtin__\nset\nh\x00\x85R(Ne", 1),
    "one list in many arrays": many(LIST, _array(b"J\x20\x4e\x00\x00\x85", b"O8", b"")[2:-1]
                                    .replace(b"U\x00tb", b"h\x00tb")),
    "bytes of no bytes": b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_ask_for_much_or_are_none(name: str) -> None:
    if name in ("a memo of gigabytes", "a frame of exabytes"):  # harmless: nothing is reserved
        assert parse_plain(BOMBS[name]) is None
        return
    with pytest.raises(DataError) as refused:
        parse_plain(BOMBS[name], "gnd.pkl")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_laughs_that_fit_are_read_without_being_written_out() -> None:
    assert len(parse_plain(laughs(5))) == 10


def test_bombs_take_neither_memory_nor_time() -> None:
    """In a process that may use 600 MB and 20 s of its processor."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from tests.core.test_safe_pickle import BOMBS, parse_plain, DataError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for data in BOMBS.values():\n"
        "    try: parse_plain(data)\n"
        "    except DataError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 50_000  # KB


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_pickles_are_read_or_refused(seed: int) -> None:
    """Bytes changed, cut, doubled and mixed: one DataError, or a value of plain types."""
    rng = random.Random(seed)
    seeds = [pickle.dumps(value, protocol) for protocol in range(6)
             for value in (PLAIN, [*ARRAYS.values()], [np.int64(3), Call(eval, "1")])]  # fmt: skip
    codes = [ord(code.code) for code in pickletools.opcodes]
    read = 0
    for _ in range(400):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            match rng.randrange(5):
                case 0:
                    data[at] = rng.choice(codes)
                case 1:
                    data[at] = rng.randrange(256)
                case 2:
                    del data[at : at + rng.randint(1, 9)]
                case 3:
                    data[at:at] = data[at : at + rng.randint(1, 40)]
                case 4:
                    data[at:at] = struct.pack("<BI", rng.choice(codes), rng.getrandbits(32))
            data = data or bytearray(b".")
        try:
            value = parse_plain(bytes(data))
        except DataError:
            continue
        read += 1
        assert_plain(value)
    assert read > 5


def assert_plain(value: Any) -> None:
    assert isinstance(
        value, (dict, list, tuple, set, frozenset, str, bytes, int, float, type(None),
                np.ndarray, np.generic),
    )  # fmt: skip
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.dtype == object else []
    if isinstance(value, list | tuple | set | frozenset):
        for part in value:
            assert_plain(part)


def test_the_reason_is_the_right_one() -> None:
    reasons = {
        "an array of petabytes": "with 4 bytes of values",
        "laughs": "when written out",
        "depth": "more than 40 deep",
        "one text as many keys": "256 MB of text",
        "one list in many sets": "more than 2000000 values",
        "one list in many arrays": "more than 2000000 values",
        "keys that collide": "very large number as a key",
        "tuples as keys": "tuple as a key",
        "a name with a dot": "f2py.os.system",
        "text": "does not end as one",
        "a zip": "does not end as one",
    }
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=reason):
            parse_plain(BOMBS[name])


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "gnd.pkl"
    with pytest.raises(DataError, match="no such file"):
        load_plain(path)
    path.write_bytes(pickle.dumps([1, 2]))
    assert load_plain(path) == [1, 2]
    with pytest.raises(DataError, match="more than 1e-05 MB"):
        load_plain(path, max_bytes=10)
    with pytest.raises(DataError, match=r"folder|directory"):
        load_plain(tmp_path)
