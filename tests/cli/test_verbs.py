"""The verbs are imported when they are asked for, and --help says of them what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from whichlandmark.cli import app
from whichlandmark.cli.verbs import VERBS, listed_verbs


def cli_modules(*arguments: str) -> set[str]:
    """The modules of the command line that a command has imported."""
    code = (
        f"import sys; sys.argv = {['whichlandmark', *arguments]}\n"
        "from whichlandmark.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('|', *(m.split('.')[-1] for m in sys.modules if m.startswith('whichlandmark.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("|")[2].split())


ALWAYS = {"app", "config", "option_types", "output", "verbs"}


def test_help_imports_no_verb_and_a_verb_no_other() -> None:
    assert cli_modules("--help") == ALWAYS
    assert cli_modules("mcp", "--help") == {*ALWAYS, "mcp"}
    assert cli_modules("gallery", "enrich", "--help") >= {*ALWAYS, "gallery", "enrich"}
    assert cli_modules("fly") == ALWAYS  # an unknown verb


def test_the_listed_lines_are_those_of_the_verbs() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    first = {verb: " ".join(commands[verb].help.split("\n\n")[0].split()) for verb in VERBS}
    assert first == {verb: command.help for verb, command in listed_verbs().items()}
    registered = [one.name or one.callback.__name__ for one in app.registered_commands]
    registered += [group.name for group in app.registered_groups]
    assert sorted(registered) == sorted(VERBS)  # no verb of a module is left out
    assert [*commands] == [*VERBS]


@pytest.mark.parametrize("verb", [*VERBS])
def test_a_verb_is_found_alone(verb: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert commands[verb].name == verb
    assert verb in commands
    assert "fly" not in commands
    with pytest.raises(KeyError):
        commands["fly"]
