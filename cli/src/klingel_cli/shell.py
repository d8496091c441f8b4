"""What every command shares: settings, output for people and programs, exit codes.

Exit codes: 0 all is well, 1 checked and found wrong, 2 wrong usage or configuration, 3 Kafka or
Elasticsearch is away.
"""

import contextlib
import json
import logging
import math
import os
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Never

import click
from kafka.errors import (
    AuthorizationError,
    InvalidReplicationFactorError,
    KafkaError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnknownTopicOrPartitionError,
)
from rich.console import Console
from rich.table import Table

from klingel.config.loader import BrandFileError
from klingel.errors import ConfigurationError, InvalidMessage, KlingelError, RetryableError
from klingel.settings import KafkaSettings, Settings, load_settings
from klingel_networks.registry import installed

EXIT_CODES = (
    "Exit codes: 0 all is well, 1 checked and found wrong, 2 wrong usage or configuration, "
    "3 Kafka or Elasticsearch is away."
)
FOUND_WRONG = 1
WRONG_USAGE = 2
AWAY = 3
_KNOCK_SECONDS = 2.0


class Failure(click.ClickException):
    """Ends a command with a sentence and an exit code.

    Args:
        sentence: what is wrong and what would be right; lines that name a file speak for themselves.
        exit_code: see above.
        bare: print the lines as they are, so that editors find file and line.
    """

    def __init__(self, sentence: str, exit_code: int, *, bare: bool = False) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self._bare = bare

    def show(self, file: Any = None) -> None:
        """Print the sentence on standard error."""
        lead = "" if self._bare else "klingel: "
        click.echo(f"{lead}{self.format_message()}", file=file, err=True)


class Shell:
    """One run of the command: what it reads from outside, read when first needed."""

    @cached_property
    def settings(self) -> Settings:
        """Settings of the environment; raises ConfigurationError."""
        return load_settings(os.environ, also=_names_of_connectors())

    @cached_property
    def out(self) -> Console:
        """Where people read; tables keep their columns when piped."""
        console = Console(highlight=False, soft_wrap=False)
        return console if console.is_terminal else Console(highlight=False, width=160)

    def now(self) -> datetime:
        """Return the wall-clock time, aware UTC."""
        return datetime.now(UTC)

    def say(self, sentence: str) -> None:
        """Print a line to people, without reading markup or cutting it."""
        click.echo(sentence)

    def tell(self, content: Any) -> None:
        """Print one line of JSON to programs."""
        click.echo(harmless(json.dumps(content, ensure_ascii=False, default=_plain)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; a column whose name starts with `#` is aligned to the right."""
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for name in columns:
            table.add_column(
                name.removeprefix("#"),
                justify="right" if name.startswith("#") else "left",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(shown(cell) for cell in row))
        self.out.print(table)

    def found_wrong(self) -> Never:
        """End the command with exit code 1; what was found stands above already."""
        raise click.exceptions.Exit(FOUND_WRONG)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def harmless(line: str) -> str:
    """Return a line of JSON in which everything that is not printable is an escape of JSON.

    Only strings hold such characters: lone surrogates, control and formatting characters.
    """
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def shown(value: object) -> str:
    """Return a cell's text: nothing for None, brackets and control characters made harmless."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value).replace("[", r"\[")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _names_of_connectors() -> tuple[str, ...]:
    """Names that belong to the connectors' own settings, which the command leaves alone."""
    own = (f"KLINGEL_{name.upper()}_*" for name in installed().names)
    return ("KLINGEL_FORM_*", "KLINGEL_HOOKS", "KLINGEL_HOOK_*", "KLINGEL_MEDIA_*", *own)


pass_shell = click.make_pass_decorator(Shell, ensure=True)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


class Number(click.FloatRange):
    """A number within bounds; NaN, which no bound holds, is none."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return it."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"write a {self.name}", param, ctx)
        return number


class Seconds(Number):
    """So many seconds."""

    name = "number of seconds"


class Commands(click.Group):
    """The main group: loads each command when it is asked for, and turns errors into sentences.

    Args:
        lazy: command name to `module:attribute` and the line that `--help` shows. One whose module
            is not installed is left out.
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return what is installed, in the order of the declaration."""
        there = [name for name, (target, _) in self._lazy.items() if _is_there(target)]
        return [*there, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in self._lazy or not _is_there(self._lazy[cmd_name][0]):
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        _tell_exit_codes(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading them."""
        rows = [(name, self._lazy[name][1]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; what klingel or a client raises becomes one sentence and an exit code."""
        # The clients log what they try again; the sentence at the end says what there is to say.
        for name in ("kafka", "elastic_transport", "elasticsearch"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            return super().invoke(ctx)
        except BrandFileError as error:
            raise Failure(str(error), WRONG_USAGE, bare=True) from None
        except ConfigurationError as error:
            raise Failure(str(error), WRONG_USAGE) from None
        except RetryableError as error:
            raise Failure(str(error), AWAY) from None
        except InvalidMessage as error:
            raise Failure(_with_path(error), FOUND_WRONG) from None
        except KlingelError as error:
            raise Failure(str(error), FOUND_WRONG) from None
        except KafkaError as error:
            raise _of_kafka(error, ctx) from None


def _tell_exit_codes(command: click.Command) -> None:
    """Let the help of a command, and of those below it, end with the exit codes."""
    command.epilog = EXIT_CODES
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _tell_exit_codes(each)


def _is_there(target: str) -> bool:
    try:
        return find_spec(target.partition(":")[0]) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _with_path(error: InvalidMessage) -> str:
    return f"{error.path}: {error}" if error.path else str(error)


def _refusal(error: KafkaError) -> str:
    """Return what kind of refusal it is, and which setting it is about where that is known."""
    if isinstance(error, InvalidReplicationFactorError):
        return "it has fewer brokers than KLINGEL_KAFKA__REPLICATION wants replicas"
    return type(error).__name__.removesuffix("Error")


def _locked_out(kafka: KafkaSettings) -> bool:
    """Whether a Kafka that asks who is there listens: its client repeats a refusal until it gives up."""
    if kafka.security_protocol == "PLAINTEXT":
        return False
    for address in kafka.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with contextlib.suppress(OSError, ValueError):
            socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
            return True
    return False


def _of_kafka(error: KafkaError, ctx: click.Context) -> Failure:
    kafka = ctx.ensure_object(Shell).settings.kafka
    if isinstance(error, UnknownTopicOrPartitionError):
        return Failure(
            f"a topic with the prefix '{kafka.topic_prefix}' is missing at {kafka.bootstrap}; "
            "run `klingel topics apply`",
            WRONG_USAGE,
        )
    if isinstance(error, AuthorizationError | SaslAuthenticationFailedError):
        return Failure(
            f"Kafka at {kafka.bootstrap} refuses our credential ({type(error).__name__}); "
            "see KLINGEL_KAFKA__SASL_USERNAME and the ACLs",
            WRONG_USAGE,
        )
    if not isinstance(error, RetriableError):
        return Failure(f"Kafka at {kafka.bootstrap} refuses: {_refusal(error)}", WRONG_USAGE)
    if _locked_out(kafka):
        return Failure(
            f"Kafka at {kafka.bootstrap} listens and does not let us in; see "
            "KLINGEL_KAFKA__SECURITY_PROTOCOL, the password (KLINGEL_KAFKA__SASL_USERNAME) or the "
            "certificate (KLINGEL_KAFKA__SSL_CERTFILE), and whom we trust (KLINGEL_KAFKA__SSL_CAFILE)",
            WRONG_USAGE,
        )
    return Failure(
        f"Kafka at {kafka.bootstrap} does not answer ({type(error).__name__}); "
        "start it or set KLINGEL_KAFKA__BOOTSTRAP",
        AWAY,
    )
