"""``fanin cert``: certificates of weights from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.commands.options import InputShape, TableFormat, Target
from fanin.commands.saying import say
from fanin.text.names import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanin.certificates.certificate import Certificate, Difference
    from fanin.text.columns import ColumnTable

__all__ = ["cert"]

cert: typer.Typer = typer.Typer(
    name="cert",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Compare the weights of two runs by a short text.",
)

Out = Annotated[Path | None, typer.Option("--out", help="File for the certificate; printed where not given.")]


@cert.command()
def make(target: Target, out: Out = None, input_shape: InputShape = None) -> None:
    """Make a certificate: one line for each parameter."""
    from fanin.certificates.fingerprint import fingerprint
    from fanin.commands.targets import load_target

    _assert_out(out)
    _give(fingerprint(load_target(target, input_shape=input_shape).model, gather=False), out)


@cert.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(help="Certificates of all processes: fingerprint(gather=False).")],
    out: Out = None,
) -> None:
    """Add up the certificates of all processes.

    Parts that are missing or that differ are named.
    """
    from fanin.certificates.certificate import Certificate

    _assert_out(out)
    _give(Certificate.merge([Certificate.load(path) for path in parts]), out)


@cert.command()
def diff(
    left: Annotated[Path, typer.Argument(help="A certificate.")],
    right: Annotated[Path, typer.Argument(help="The certificate to compare with it.")],
    form: TableFormat = "table",
) -> None:
    """Name the parameters that differ.

    The exit status is 1 where the numbers of a parameter differ between the two certificates.
    """
    from fanin.certificates.certificate import Certificate

    one, two = Certificate.load(left), Certificate.load(right)
    found, compared = one.diff(two), len({e.name for e in (*one.entries, *two.entries)})
    if form == "json":
        typer.echo(json.dumps([_data(d) for d in found]))
    else:
        from fanin.text.console import standard_console

        console = standard_console()
        if found:
            console.print(differences_table(found))
        console.print(f"{len(found)} of {compared} parameters differ" if found else "the same numbers")
    raise typer.Exit(1 if found else 0)


def differences_table(found: Iterable[Difference]) -> ColumnTable:
    """One row a parameter, in the order of the indices in their names."""
    from fanin.text.columns import Column, ColumnTable

    heads = (Column(title="differs in", rank=1), Column(title="left", least=16), Column(title="right", least=16))
    rows = ((d.name, d.quantity, d.left, d.right) for d in sorted(found, key=lambda d: _by_index(d.name)))
    return ColumnTable("parameter", heads, tuple(rows))


def _by_index(name: str) -> list[tuple[int, str]]:
    """Key under which ``layers.2`` is before ``layers.10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def _data(difference: Difference) -> dict[str, str]:
    return {name: getattr(difference, name) for name in ("name", "quantity", "left", "right")}


def _assert_out(out: Path | None) -> None:
    """Check, before any work, that the file can be written."""
    from fanin.text.files import assert_place

    if out is not None:
        assert_place(out)


def _give(certificate: Certificate, out: Path | None) -> None:
    if out is None:
        typer.echo(certificate.text(), nl=False)
        return
    certificate.save(out)
    typer.echo(str(certificate))
    say(f"wrote {clean(out)}")
