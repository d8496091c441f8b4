"""Words of a command line, followed through the program that they are for."""

import click
import pytest

from klingel_cli.main import main as klingel
from klingel_connectors.__main__ import main as connector
from klingel_processors.__main__ import STAGES


def resolve(group: click.Command, words: list[str]) -> tuple[click.Command, list[str]]:
    """Follow words through a click group; return the command and what is left over."""
    context = click.Context(group)
    command = group
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


def check_words(program: str, words: list[str]) -> None:
    """Fail when a program of ours does not know a command or one of its options."""
    groups = {"klingel": klingel, "klingel-connector": connector}
    if program in groups:
        command, rest = resolve(groups[program], words)
        assert not isinstance(command, click.Group), f"{program} {words} is not whole"
        command.make_context(program, list(rest))
    elif program == "klingel-processor":
        assert words in [[stage] for stage in STAGES]
    elif program in {"klingel-indexer", "klingel-notifier"}:
        assert words == ["run"]
    else:
        pytest.fail(f"no program {program}")
