"""Settings out of their range: one line that says what is expected, and exit code 2.

The options are those that the commands have, so that a new one is tried too.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.test_commands import run
from whichlandmark.cli import app
from whichlandmark.cli.option_types import MAY_BE_BLANK
from whichlandmark.core.errors import OptionError
from whichlandmark.core.json_options import Span, from_json
from whichlandmark.data.cleaning.clean_table import CleanTableOptions
from whichlandmark.data.cleaning.drop import CleaningRules
from whichlandmark.data.cleaning.neighbour_support import SupportOptions
from whichlandmark.data.splits import SplitOptions
from whichlandmark.features.embedders.load import PretrainedOptions, parse_options
from whichlandmark.features.embedders.sift import SiftOptions
from whichlandmark.features.preprocessing import Preprocessing, Views
from whichlandmark.recognition.indexing.index_photos import IndexOptions
from whichlandmark.recognition.rules import Rules
from whichlandmark.serving.options import ServeOptions
from whichlandmark.training.config import TrainConfig


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, one in inner.items():
        yield from commands(one, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def options() -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Every option of every command: the words of the command, the option, its type."""
    for words, command in ALL.items():
        hints = typing.get_type_hints(inspect.unwrap(command.callback))
        for param in command.params:
            if param.name in hints:
                yield words, param, hints[param.name]


def is_(kind: type, hint: Any) -> bool:
    return hint is kind or kind in typing.get_args(hint)


def call(words: tuple[str, ...], option: str, value: str) -> list[str]:
    """The shortest command line with this option (or argument); no file of it exists."""
    given = [*words]
    for param in ALL[words].params:
        if param.param_type_name == "argument":
            given += [value if param.name == option else "nowhere"]
        elif param.required and option not in param.opts:
            given += [param.opts[0], "nowhere"]
    return [*given, option, value]


def refused(capfd: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> str:
    """The one line with which a command ends with exit code 2."""
    code, out, err = run(capfd, *arguments)
    assert (code, out) == (2, ""), (arguments, code, out, err)
    assert err.count("\n") == 1, (arguments, err)
    assert err.startswith("error: "), (arguments, err)
    assert not [word for word in ("unexpected", "Traceback") if word in err], (arguments, err)
    assert not [word for word in words if word not in err], (arguments, err)
    return err


def outside(span: Span) -> Iterator[str]:
    """Texts that are no number of a span."""
    yield from ("abc", "nan", "-inf", "1e400", "1,5")
    yield repr(span.low if span.above else span.low - 1)
    yield repr(span.high if span.below else span.high + 1)
    if span.whole:
        yield "1.5"


def test_every_number_of_the_command_line_has_a_span_and_keeps_to_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tried = 0
    for words, param, hint in options():
        if not (is_(int, hint) or is_(float, hint)):
            continue
        span = getattr(param.callback, "span", None)
        assert isinstance(span, Span), f"{words} {param.opts}: a number without a span"
        for text in outside(span):
            name = max(param.opts, key=len)
            refused(capfd, call(words, name, text), f"{name} ", f"expected {span}")
            tried += 1
    assert tried > 150
    assert not list(tmp_path.iterdir())


def test_every_choice_of_the_command_line_names_its_words(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [(w, p) for w, p, _ in options() if getattr(p.callback, "words", None)]
    assert {max(p.opts, key=len) for _, p in chosen} >= {
        "--score", "--fit", "--pool", "--interpolation", "--recipe", "--engine",
        "--scope", "--label",
    }  # fmt: skip
    for words, param in chosen:
        name = max(param.opts, key=len)
        for text in ("zzz", param.callback.words[0].upper()):
            refused(capfd, call(words, name, text), f"{name} ", param.callback.words[-1])
    for words, param, _ in options():
        if "--device" in param.opts:
            for text in ("gpu", "cuda:", "cpu:0 "):
                refused(capfd, call(words, "--device", text), "expected auto, cpu or cuda")


def test_no_option_or_argument_is_blank(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a shell variable that is not set: the current folder would be read or written."""
    monkeypatch.chdir(tmp_path)
    for words, param, hint in options():
        if is_(bool, hint) or set(param.opts) & set(MAY_BE_BLANK):
            continue
        if param.param_type_name == "argument":
            refused(capfd, call(words, param.name, "")[:-2], "an argument '' given", "not blank")
            continue
        name = max(param.opts, key=len)
        blank = (name, "") if param.required else (f"{name}=  ",)
        refused(capfd, [*call(words, name, "x")[:-2], *blank], name, "not blank")
    assert not list(tmp_path.iterdir())


RECORDS: list[tuple[type, dict[str, Any]]] = [
    (TrainConfig, {}), (Rules, {}), (SiftOptions, {}), (Preprocessing, {}), (Views, {}),
    (PretrainedOptions, {}), (ServeOptions, {}), (SplitOptions, {"landmarks": 3}),
    (CleaningRules, {}), (SupportOptions, {}), (IndexOptions, {}),
    (CleanTableOptions, {"rules": CleaningRules()}),
]  # fmt: skip


def wrong_values(hint: Any, span: Span | None) -> Iterator[Any]:
    """Values of another type than a field's, and numbers outside its span."""
    if typing.get_origin(hint) is tuple or is_tuple_or_none(hint):
        yield from (0.5, "0.5", [], [None, None, None], {"a": 1}, [math.nan] * 3, [-1.0] * 3)
        return
    for kind in (int, float):
        if is_(kind, hint):
            assert span is not None
            yield from ("many", [1], {}, True, math.nan, math.inf, -math.inf)
            yield span.low if span.above else span.low - 1
            if span.high < math.inf:
                yield span.high if span.below else span.high + 1
            if kind is int:
                yield from (1.5, 1e400)
            if not is_(type(None), hint):
                yield None
            return
    if is_(bool, hint):
        yield from ("yes", 1, None, 0.0)
    elif typing.get_origin(hint) is not dict and is_(str, hint):
        yield from (1, 1.5, True, ["x"], {})
    elif typing.get_origin(hint) is typing.Literal:
        yield from ("zzz", "", 1, None, True)


def is_tuple_or_none(hint: Any) -> bool:
    return any(typing.get_origin(part) is tuple for part in typing.get_args(hint))


@pytest.mark.parametrize(("record", "needed"), RECORDS, ids=[r.__name__ for r, _ in RECORDS])
def test_every_field_of_the_records_of_options_is_checked(
    record: type, needed: dict[str, Any]
) -> None:
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        span = record.spans.get(field.name)  # type: ignore[attr-defined]
        for value in wrong_values(hints[field.name], span):
            may_be_empty = field.name in ("names", "cors", "proxies") and value == []
            if may_be_empty or field.name == "against":
                continue
            with pytest.raises(OptionError, match=f"{field.name} .*expected") as caught:
                record(**{**needed, field.name: value})
            assert "\n" not in str(caught.value)
            with pytest.raises(OptionError, match="expected"):
                from_json(record, {**needed, field.name: value})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("crop=0", "crop 0 given; expected a whole number, 16 to 4,096 (pixels)"),
        ("dim=0", "dim 0 given; expected a whole number, 1 to 65,536, or null"),
        ("seed=-1", "seed -1 given; expected a whole number, 0 to 4,294,967,295"),
        ("mean=0.5", "mean 0.5 given; expected a list of 3, such as [0.5, 0.5, 0.5]"),
        ("mean=[127,127,127]", "each a number, 0 to 1"),
        ("std=[0.2,0.2,0]", "each a number, above 0, at most 1"),
        ("epochs=1.5", "epochs 1.5 given; expected a whole number, 1 to 100,000"),
        ("epochs=many", "epochs 'many' given; expected a whole number"),
        ("gem_p=0", "gem_p 0 given; expected a number, 0.1 to 20 (1 is average pooling"),
        ("gem_p=1e30", "gem_p 1e+30 given; expected a number, 0.1 to 20"),
        ("lr=nan", "lr 'nan' given; expected a number, above 0"),
        ("lr=NaN", "lr nan given; expected a number, above 0"),
        ("lr=Infinity", "lr inf given; expected a number, above 0"),
        ("lr=0,1", "lr '0,1' given; expected a number, above 0"),
        ("margin=3", "margin 3 given; expected a number, 0 to 2, or null"),
        ("ema=1", "ema 1 given; expected a number, 0 to below 1"),
        ("validation=0", "validation 0 given; expected a number, above 0 to below 1"),
        ("momentum=1", "momentum 1 given"),
        ("least_area=0", "least_area 0 given; expected a number, 0.01 to 1"),
        ("first_crop=16", "first_crop 16 given with crop 224; expected 0 (off), or"),
        ("first_crop=320", "first_crop 320 given with crop 224"),
        ("landmarks_per_batch=60000", "480,000 photos in a batch; expected at most 65,536"),
        ("shapes=yes", "shapes 'yes' given; expected true or false"),
        ("loss=arcfase", "expected one of 'triplet', 'arcface', 'both'; did you mean 'arcface'?"),
        ("precision=float16", "expected one of 'float32', 'bf16', 'fp16'"),
        ("device=gpu", "device 'gpu' given; expected auto, cpu or cuda; a GPU is called cuda"),
        ("weights=", "weights '' given; expected random, lite0, hub, a file"),
        ("backbone=", "backbone '' given; expected the name of a timm model"),
        ("options=3", "options 3 given; expected a JSON object"),
        ("LR=0.1", "unknown option of TrainConfig: 'LR'; did you mean 'lr'?"),
        ("batch-size=4", "unknown option of TrainConfig: 'batch-size'; did you mean"),
        ("lr", "option 'lr' given; expected KEY=VALUE"),
        ("=3", "option '=3' given; expected KEY=VALUE"),
    ],
)
def test_set_teaches_what_a_setting_takes(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, setting: str, message: str
) -> None:
    train = ["train", str(tmp_path), "-o", str(tmp_path / "e"), "--set", setting]
    assert message in refused(capfd, train)


def test_set_takes_values_as_people_write_them() -> None:
    given = ["shapes=True", "margin=None", "lr=.05", " dim = 64", "mean=[0.5, 0.5, 0.5]"]
    config = from_json(TrainConfig, parse_options(given))
    assert (config.shapes, config.margin, config.lr, config.dim) == (True, None, 0.05, 64)
    assert config.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embedder", "timm:x", "-o", "e", "--gem-p", "0"],
         "--gem-p 0 given; expected a number, 0.1 to 20"),
        (["embedder", "timm:x", "-o", "e", "--mean", "127.5"], "divide by 255"),
        (["embedder", "timm:x", "-o", "e", "--mean", "0.5,0.5"], "one, or three with commas"),
        (["embedder", "timm:x", "-o", "e", "--std", "0"], "--std 0 given"),
        (["embedder", "timm:x", "-o", "e", "--scales", "0"], "--scales 0 given"),
        (["embedder", "timm:x", "-o", "e", "--scales", "1,,2"], "with commas between them"),
        (["embedder", "timm:x", "-o", "e", "--pool", "avg"], "expected model, cls, mean or gem"),
        (["serve", "r.wl", "--port", "99999"],
         "--port 99999 given; expected a whole number, 0 to 65,535"),
        (["serve", "r.wl", "--port", "http"],
         "--port 'http' given; expected a whole number, 0 to 65,535"),
        (["clean", "x", "-o", "y.csv", "--min-photos", "-1"], "--min-photos -1 given"),
        (["clean", "x", "-o", "y.csv", "--scenes", "0"], "--scenes 0 given"),
        (["split", "x", "-o", "y", "--test", "1.5"], "--test 1.5 given"),
        (["tune", "r.wl", "--false-answers", "nan"], "--false-answers nan given"),
        (["index", "x", "-o", "y", "--device", "gpu"], "a GPU is called cuda"),
        (["index", "x", "-o", "y", "--score", "cosin"], "did you mean cosine?"),
        (["index", "", "-o", "y"], "an argument '' given"),
        (["index", "x", "--out="], "--out '' given"),
        (["trian", "x"], "Did you mean 'train'; `whichlandmark --help` says what it takes"),
        (["index", "x"], "`whichlandmark index --help` says what it takes"),
        (["index", "x", "-o", "y", "--embeder", "sift"], "--embeder"),
        (["train", "x", "-o", "y", "--recipe", "strng"], "did you mean strong?"),
        (["keys", "add", "k.json", "a", "--rate", "0"], "--rate 0 given"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capfd, arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"votes": 0}', 2, "votes 0 given; expected a whole number, 1 to 10,000"),
        ('{"query_bank": 0}', 2, "query_bank 0 given; expected a whole number, 1 to 10,000, or"),
        ('{"recall": NaN}', 2, "recall nan given; expected a number, 0.5 to 1"),
        ('{"answer_above": 1e999}', 2, "answer_above inf given"),
        ('{"answer_above": "high"}', 2, "answer_above 'high' given; expected a number, 0 to 1"),
        ('{"answer_above": 0.1}', 2, "doubt_above at most answer_above"),
        ('{"superglobal": 1}', 2, "superglobal 1 given; expected true or false"),
        ('{"score": "Cosine"}', 2, "did you mean 'cosine'?"),
        ('{"vote": 3}', 2, "did you mean 'votes'?"),
        ("[]", 4, "expected a JSON object"),
        ("", 4, "not readable as JSON"),
        ('{"votes": 3', 4, "not readable as JSON"),
    ],
)  # fmt: skip
def test_a_file_of_rules_is_checked_before_photos_are_read(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str, code: int, message: str
) -> None:
    (tmp_path / "rules.json").write_text(text)
    rules = tmp_path / "rules.json"
    ended, _, err = run(capfd, "index", "nowhere", "-o", tmp_path / "r.wl", "--rules", rules)
    assert (ended, err.count("\n"), message in err) == (code, 1, True), err


def test_json_files_may_begin_with_the_mark_of_windows_editors(tmp_path: Path) -> None:
    from whichlandmark.core.files import read_json

    (tmp_path / "rules.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"votes": 2}).encode())
    assert from_json(Rules, read_json(tmp_path / "rules.json")).votes == 2


def test_numbers_of_numpy_are_taken() -> None:
    import numpy as np

    rules = Rules(votes=np.int64(4), answer_above=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(rules.votes), type(rules.answer_above)) == (int, float)
    mean = tuple(np.full(3, 0.5, np.float32))
    assert TrainConfig(mean=mean).mean == (0.5, 0.5, 0.5)
    with pytest.raises(OptionError, match=r"votes 2 given"):
        Rules(votes=2.0)  # type: ignore[arg-type]
