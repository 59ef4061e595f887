"""The group of commands: a command is imported when it is called, and errors become one line and an exit code.

Exit codes: 0 done; 2 an error that the user can fix in the input; 1 a crash or an I/O failure; 130 Ctrl-C; 141 the
reader of the output has left (`| head`), as git and grep end then, so that a script can tell it from a crash.
"""

import errno
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, cast

import click

from advkit._version import __version__
from advkit.core.errors import AdvkitWarning, InputError, unknown

COMMANDS = {
    "attack": "Attack a model and say how often it is wrong, clean and attacked.",
    "attacks": "List the attacks and their options.",
    "board": "Put several runs or cards into one table.",
    "card": "Print the card of a run: what was found, in a form that others can check.",
    "certify": "Bound the error under any attack within eps from both sides.",
    "compare": "Compare two runs of advkit evaluate image by image.",
    "curve": "Draw the error against eps, for one or several models.",
    "data": "List the data sets and whether they are here.",
    "defenses": "List the defences and their options.",
    "evaluate": "Evaluate a model under several attacks, into a folder that can be resumed.",
    "export": "Write the images of a run, or its errors, for other programs.",
    "merge": "Join the runs of several shards as one.",
    "models": "List the networks, or the layers of one.",
    "patch": "Find one patch that misleads a model wherever it is put.",
    "report": "Tell what a run shows, in the terms of a document for auditors.",
    "reproduce": "Run a paper's tables again, beside the printed figures.",
    "train": "Train a model by a recipe.",
    "transfer": "Try the adversarial images of each model on all others.",
    "universal": "Find one perturbation that misleads a model on most images.",
    "verify": "Check whether a run is whole, or a card is true.",
    "visualize": "Draw what a network does inside.",
}
"""Name -> help; the command itself is `command` in advkit.cli.commands.NAME, which the list does not import."""

DONE, FAILED, MENDABLE, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141

NO_PATH = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""What the system says of words that are no path to such a thing, whoever looks there first."""

NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
"""What the system says of places that belong to somebody else, or to nobody: another path is the user's to give."""

LONGEST = 2000
"""Characters of a line for people; a longer one quotes something that was given, and loses its middle."""


class ReaderLeftError(Exception):
    """Nobody reads our output any more; click would end with 1, as after a crash, if it met the BrokenPipeError."""


@contextmanager
def _noticed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderLeftError from error


class Group(click.Group):
    """Commands by name; see the module."""

    def make_context(self, *given: Any, **options: Any) -> click.Context:
        """Read the words; `--help` is printed here."""
        with _noticed():
            return super().make_context(*given, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"advkit.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise unknown("command", args[0], COMMANDS, "(advkit --help lists them)")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; without a current folder nothing would find its files, and libraries end the process."""
        try:
            os.getcwd()
        except OSError as error:
            raise InputError("the current folder is gone: change to another one (cd), and run that again") from error
        with _noticed():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run; leaves by SystemExit with the exit code, unless click's `standalone_mode=False` is among the options."""
        _open_closed_streams()
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words or bool(os.environ.get("ADVKIT_DEBUG"))
        words = [word for word in words if word != "--debug"] or ["--help"]
        alone = options.pop("standalone_mode", True)

        def run() -> Any:
            return cast(Any, click.Group.main)(self, words, *rest, standalone_mode=False, **options)

        if not alone:
            return run()
        with _short_warnings(), _terminable():
            sys.exit(_exit_code(run, debug))


def _open_closed_streams() -> None:
    """A stream that was closed by the caller (`>&-`) leads nowhere; a file opened later would take its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _exit_code(call: Callable[[], Any], debug: bool) -> int:
    """Run the command; turn whatever it raises into one line on stderr and a code."""
    try:
        code = call()
        sys.stdout.flush()  # a reader that has left is noticed here, not at exit
        return code if isinstance(code, int) else DONE
    except (ReaderLeftError, BrokenPipeError):
        _drop_stdout()
        return UNREAD
    except (click.Abort, KeyboardInterrupt):
        last_word("Interrupted.")
        return INTERRUPTED
    except Exception as error:
        if _hung_up(error):
            return INTERRUPTED
        if debug:
            last_word(traceback.format_exc())
        return _explain(error, debug)


def _hung_up(error: Exception) -> bool:
    """Whether a terminal that was closed has refused the last of what was drawn on it, while we ended for its sake."""
    return isinstance(error, OSError) and error.errno == errno.EIO and isinstance(error.__context__, KeyboardInterrupt)


def _explain(error: Exception, debug: bool) -> int:
    """One line on stderr; the exit code."""
    if isinstance(error, click.ClickException):
        last_word(f"Error: {_one_line(error.format_message())}")
        return MENDABLE if isinstance(error, click.UsageError) else error.exit_code
    if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno in NO_PATH | NOT_ALLOWED):
        last_word(f"Error: {_one_line(error)}")
        return MENDABLE
    more = "" if debug else "; for the traceback run it again with --debug"
    if type(error).__name__ == "OutOfMemoryError":
        more = f"; try a smaller --batch-size{more}"
    kind = "" if isinstance(error, OSError) else type(error).__name__
    said = ": ".join(filter(None, [kind, _one_line(error)]))
    last_word(f"Error: {'; '.join([said, *map(_one_line, getattr(error, '__notes__', ()))])}{more}")
    return FAILED


def last_word(text: str) -> None:
    """Write to standard error, which may be a terminal that was closed, or a full disk: the exit code stays."""
    with suppress(OSError):
        click.echo(text, err=True)


def _one_line(text: object) -> str:
    """Blanks and line ends become one blank, other control characters are escaped; the middle of a long one goes.

    The system's own number of an error says nothing to a reader.
    """
    if isinstance(text, OSError) and isinstance(text.filename, str | bytes):
        text = f"{os.fsdecode(text.filename)}: {text.strerror}"
    words = re.sub(r"\[Errno -?\d+\] ", "", " ".join(str(text).split()))
    if len(words) > LONGEST:
        words = f"{words[: LONGEST // 2]} ... {words[-LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in words)


def _drop_stdout() -> None:
    """The reader of our output has left (`| head`): say nothing, not even when Python flushes at exit."""
    with suppress(OSError, ValueError):  # a stdout that is no file needs no care
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, the signals that end batch jobs and closed terminals are a Ctrl-C: what is done is kept, and said.

    A signal that whoever started us ignores, as `nohup` does, stays ignored.
    """

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has one
    before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Warnings as one line on stderr, each once, whatever numbers it speaks of."""
    seen: set[str] = set()

    def show(message: Warning | str, *place: Any, **more: Any) -> None:
        key = re.sub(r"\d+", "#", str(message))
        if key not in seen:
            click.echo(f"Warning: {_one_line(message)}", err=True)
        seen.add(key)

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.filterwarnings("always", category=AdvkitWarning)
        yield


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error (so does $ADVKIT_DEBUG).")
@click.version_option(__version__, message="advkit %(version)s")
def main(debug: bool) -> None:
    """How often is an image classifier wrong, clean and attacked, and what makes it better?

    \b
    advkit attack --model vgg16 --eps 0.007
    advkit attack --model lenet5 --attack "pgd(eps=0.1, steps=40)"
    """
