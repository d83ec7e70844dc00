"""The command line: a thin layer over the public API.

Results go to stdout, progress and errors to stderr. Exit status: 0 clean, 1 findings or differences, 2 usage or
internal error, 130 interrupted by Ctrl-C. Commands import what they need when they run, so that ``fanin --help``
stays quick.
"""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from fanin._version import __version__
from fanin.commands.calibrate import calibrate
from fanin.commands.cert import cert
from fanin.commands.check import check
from fanin.commands.demo import demo
from fanin.commands.diff import diff
from fanin.commands.examples import epilog
from fanin.commands.explain import explain
from fanin.commands.gain import gain
from fanin.commands.graph import graph
from fanin.commands.init import init
from fanin.commands.lab import lab
from fanin.commands.mup import mup
from fanin.commands.not_commands import HintingGroup
from fanin.commands.plan import plan
from fanin.commands.playground import playground
from fanin.commands.report import report
from fanin.commands.saying import say
from fanin.commands.theory import theory
from fanin.commands.verify import verify
from fanin.errors import FaninError, MissingDependencyError
from fanin.text.names import clean

__all__ = ["app", "main"]

app: typer.Typer = typer.Typer(
    name="fanin",
    cls=HintingGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="See what a network's first training step will do, and give it initial weights that work.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"fanin {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command, ended by Ctrl-C with status 130; some versions of typer would give 1, which means findings."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("fanin: interrupted", err=True)
            sys.exit(130)

    return run


for _command in (
    *(check, plan, init, verify, calibrate, report, explain, diff, graph, theory, gain, lab, playground, demo),
):
    app.command(epilog=epilog(_command.__name__))(_interruptible(_command))


for _group in (cert, mup):
    for _info in _group.registered_commands:
        if _info.callback is not None:
            _info.callback = _interruptible(_info.callback)
    app.add_typer(_group)


def main() -> None:
    """Entry point of the ``fanin`` command."""
    try:
        app()
    except FaninError as error:
        _refuse(error)
    except ModuleNotFoundError as error:
        missing = MissingDependencyError.instead_of(error, needed_for="this command")
        if missing is error:
            _internal()
        _refuse(missing)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE):
            _internal()
        say(f"fanin: the results could not be printed: {error.strerror}")
        sys.exit(2)
    except Exception as error:  # status 1, Python's own, would mean findings
        from fanin.memory import ran_out  # loads NumPy, which --help does not need

        if ran_out(error):
            _refuse(
                FaninError("not enough memory: give a smaller batch (--input), or --meta for a plan without weights")
            )
        _internal()


def _refuse(error: Exception) -> NoReturn:
    """One sentence with the cure, status 2."""
    say("fanin: " + "\n".join(map(clean, str(error).split("\n"))))
    sys.exit(2)


def _internal() -> NoReturn:
    """Say that the fault is fanin's, in the middle of an exception."""
    traceback.print_exc()
    typer.echo("fanin: internal error. Please report it with the lines above.", err=True)
    sys.exit(2)
