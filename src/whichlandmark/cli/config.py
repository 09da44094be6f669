"""The config file `whichlandmark.toml`: options used every day, as defaults of the command line.

    recognizer = "paris.wl"     # for every verb that takes one; a path is relative to the file

    [label]
    above = 0.95

The command line goes before the environment, the environment before a config file, and a file of
the current folder before the user's own. The one in the current folder may be somebody else's,
because it comes with a folder of photos: it may set only what `FROM_HERE` has.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import OptionError
from .option_types import MAY_BE_BLANK

FILE_NAME = "whichlandmark.toml"

VARIABLE = "WHICHLANDMARK_CONFIG"  # names a config file, which is then the only one

MAX_BYTES = 100_000

EVERYWHERE = ("recognizer", "device", "language")  # may stand above all tables, for every verb

# What a file of the current folder may set: it chooses, and neither writes nor deletes anything,
# opens no address, shows nobody's positions and gives no key to anyone.
FROM_HERE = frozenset({
    *EVERYWHERE, "rules", "score", "evidence", "all-scores", "json", "above", "far", "languages",
    "keyword-root", "min-photos", "interval", "limit", "port", "title", "workers", "queue",
    "level", "epochs", "false-answers",
})  # fmt: skip

# What no file may set: it is said for one run.
NEVER = frozenset({
    "write", "watch", "undo", "dry-run", "refresh", "name", "not-a-landmark", "reopen", "approve",
    "discard", "clear", "shard", "help", "install-completion", "show-completion",
})  # fmt: skip

# An option's type, as different versions of Typer name it → types of Python, and words.
_KINDS: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"), "integer": (int, "a whole number"),
    "float": ((int, float), "a number"), "boolean": (bool, "true or false"),
    "str": (str, "a text"), "text": (str, "a text"), "path": (str, "a path"),
}  # fmt: skip


@dataclass(frozen=True)
class ConfigFile:
    """A config file that was read. here: it was found in the current folder, not chosen.

    tables: what it says. defaults: verb → the same by the names of parameters, with whole paths, as
    `Context.default_map` takes it. foreign: it is another user's, and was not read.
    """

    path: Path
    here: bool
    tables: dict[str, Any]
    defaults: dict[str, Any]
    foreign: bool = False

    def settings(self) -> list[str]:
        """Every setting as a line, "label: above = 0.95"."""
        return [f"{verb}: {key} = {value}" if verb else f"{key} = {value}"
                for verb, key, value in _flat(self.tables)]  # fmt: skip

    def used_by(self, verb: str) -> list[str]:
        """The options that it sets for a verb."""
        table = self.tables.get(verb, {})
        given = [f"{below} {key}".strip() for below, key, _ in _flat(table)]
        mine = self.defaults.get(verb, {})
        return [*(key for key in EVERYWHERE if key in self.tables and key in mine), *given]


def read_config(root: Any, given: str | None, *, none: bool = False) -> list[ConfigFile]:
    """The config files that hold now, those that go first last.

    Args:
        root: The command line, whose verbs and options the files are checked against.
        given: A file named by the user, which is then the only one; None = look for them.
        none: Read none.

    Raises:
        OptionError: When a file cannot be read, or sets what is not there; it names the line.
    """
    chosen = given if given is not None else os.environ.get(VARIABLE, "").strip() or None
    if none:
        return []
    if chosen is not None:
        path = Path(chosen).expanduser()
        if not path.exists():
            raise OptionError(f"{chosen}: no such config file")
        return [_read(path, root, here=False)]
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    own, here = Path(base, "whichlandmark", FILE_NAME), Path(FILE_NAME)
    found = [_read(own, root, here=False)] if own.is_file() else []
    if here.is_file() and not (found and here.samefile(own)):
        found.append(
            _read(here, root, here=True) if _is_mine(here)
            else ConfigFile(here, True, {}, {}, foreign=True)
        )  # fmt: skip
    return found


def merged(files: Sequence[ConfigFile]) -> dict[str, Any]:
    """The defaults of all files, the later ones first."""
    result: dict[str, Any] = {}
    for file in files:
        _merge(result, file.defaults)
    return result


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _flat(tables: dict[str, Any], before: str = "") -> Iterator[tuple[str, str, Any]]:
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before} {key}".strip())
        else:
            yield before, key, value


def _is_mine(path: Path) -> bool:
    """Is the file of the user who runs this? Another's in a shared folder is not read."""
    return not hasattr(os, "geteuid") or path.stat().st_uid == os.geteuid()


def _read(path: Path, root: Any, *, here: bool) -> ConfigFile:
    import tomllib

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise OptionError(f"{path}: no config file; expected a text of at most 100 kB")
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"{path}: no TOML: {error}") from None
    checked = _Checked(path, text.splitlines(), here)
    return ConfigFile(path, here, tables, checked.root(root, tables))


@dataclass(frozen=True)
class _Checked:
    """Turns tables of a file into defaults, and says where something is wrong."""

    path: Path
    lines: list[str]
    here: bool

    def root(self, command: Any, tables: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in tables.items():
            if not isinstance(value, dict) and key in EVERYWHERE:
                _merge(result, self._everywhere(command, key, value))
        for key, value in tables.items():
            if isinstance(value, dict):
                _merge(result, {key: self._table(command, (key,), value)})
            elif key not in EVERYWHERE:
                what = f"{key!r} above all tables"
                self._fail((), key, what + _near(key, [*EVERYWHERE, *command.commands]))
        return result

    def _everywhere(self, command: Any, key: str, value: Any) -> dict[str, Any]:
        """The value for each verb that has this option, and for the recognizer of `serve`."""
        result: dict[str, Any] = {}
        for verb, inner in command.commands.items():
            if hasattr(inner, "commands"):
                below = self._everywhere(inner, key, value)
                result |= {verb: below} if below else {}
            elif (param := _option(inner, key)) is not None:
                result[verb] = {param.name: self._value((), key, param, value)}
        return result

    def _table(self, command: Any, names: tuple[str, ...], table: dict[str, Any]) -> dict[str, Any]:
        """The defaults of one verb, or of a verb of verbs."""
        parent = command.commands
        if names[-1] not in parent:
            self._fail(names, "", f"no verb {' '.join(names)!r}" + _near(names[-1], parent))
        command, result = parent[names[-1]], {}
        for key, value in table.items():
            if isinstance(value, dict) and hasattr(command, "commands"):
                result[key] = self._table(command, (*names, key), value)
                continue
            param = None if hasattr(command, "commands") else _option(command, key)
            name = key.replace("_", "-")
            if param is None or name in NEVER:
                known = [opt[2:] for param in command.params for opt in param.opts
                         if opt.startswith("--") and opt[2:] not in NEVER]  # fmt: skip
                why = "is said on the command line only" if param else "no such option"
                near = "" if param else _near(name, [*known, *getattr(command, "commands", ())])
                self._fail(names, key, f"--{name} of {' '.join(names)}: {why}{near}")
            if self.here and name not in FROM_HERE:
                self._fail(
                    names, key, f"--{name} may not come from a file in the current folder, because "
                    "that can be somebody else's; put it into ~/.config/whichlandmark/"
                    f"{FILE_NAME}, or name this file with --config",
                )  # fmt: skip
            result[param.name] = self._value(names, key, param, value)
        return result

    def _value(self, names: tuple[str, ...], key: str, param: Any, value: Any) -> Any:
        """A value as the option takes it; a path is relative to the file."""
        kind = getattr(param.type, "name", "str")
        types, words = _KINDS.get(kind, (str, "a text"))
        many = bool(getattr(param, "multiple", False))
        values = value if many and isinstance(value, list) else [value]
        callback = getattr(param, "callback", None)
        for one in values:
            if not isinstance(one, types) or (isinstance(one, bool) and types is not bool):
                expected = f"a list, each {words}" if many else words
                self._fail(names, key, f"{key} = {value!r} given; expected {expected}")
            blank = isinstance(one, str) and not one.strip() and f"--{key}" not in MAY_BE_BLANK
            if blank:
                self._fail(names, key, f"{key} is blank")
            span, allowed = getattr(callback, "span", None), getattr(callback, "words", None)
            if span is not None and one not in span:
                self._fail(names, key, f"{key} = {one:g} given; expected {span}")
            if allowed is not None and one not in allowed:
                self._fail(names, key, f"{key} = {one!r} given; expected {', '.join(allowed)}"
                           + _near(str(one), allowed))  # fmt: skip
        if kind == "path":
            folder = self.path.parent.absolute()
            values = [str(folder / os.path.expanduser(one)) for one in values]
        return values if many else values[0]

    def _fail(self, names: tuple[str, ...], key: str, what: str) -> NoReturn:
        """Raises OptionError with the file and, where it is found, the line."""
        line = _line_of(self.lines, names, key)
        raise OptionError(f"{self.path}{f', line {line}' if line else ''}: {what}")


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _option(command: Any, key: str) -> Any:
    """The parameter of a verb that a key names; None = it has none."""
    name = key.replace("_", "-")
    for param in command.params:
        if f"--{name}" in param.opts:
            return param
    if key == "recognizer" and command.name == "serve":
        return next(param for param in command.params if param.name == key)
    return None


def _line_of(lines: list[str], names: tuple[str, ...], key: str) -> int:
    """The line of a key in a table, from 1; 0 = it is written in another way."""
    table: list[str] = []
    for number, line in enumerate(lines, 1):
        if found := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = [part.strip().strip("\"'") for part in found[1].split(".")]
            if not key and table == [*names]:
                return number
        elif found := re.match(r"\s*([^=#]+?)\s*=", line):
            parts = [part.strip().strip("\"'") for part in found[1].split(".")]
            if key and [*table, *parts] == [*names, key]:
                return number
    return 0
