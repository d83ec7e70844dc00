"""Pages made from the code: public names from their docstrings, commands from their options.

    python -m tools.reference_pages

writes ``docs/reference/`` and the table of commands in ``docs/guide/command-line.md``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

import fanin
from fanin import initializers
from fanin.commands.app import app

__all__ = ["DOCS", "commands", "docstring", "members", "pages", "with_commands", "write_pages"]

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- commands -->\n", "<!-- end of commands -->"
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example|Examples|References|Source):\n", re.MULTILINE)


def pages() -> Mapping[str, str]:
    """File name in ``docs/reference`` -> Markdown."""
    return {
        "fanin.md": _page("fanin", "The public names of `fanin`", fanin),
        "initializers.md": _page("fanin.initializers", "The public names of `fanin.initializers`", initializers),
    }


def members(module: Any) -> Mapping[str, Any]:
    """Public name -> object, of a module's functions and classes."""
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: value for name, value in found.items() if callable(value)}


def _page(prefix: str, title: str, module: Any) -> str:
    head = f"# {title}\n\nMade from the docstrings by `python -m tools.reference_pages`.\n"
    return "\n".join([head, *(_entry(prefix, name, value) for name, value in members(module).items())])


def _entry(prefix: str, name: str, value: Any) -> str:
    """One public name: how it is called, what it says of itself, and a class's methods."""
    text = docstring(inspect.getdoc(value) or "")
    methods = "".join(_method(m, f) for m, f in _methods(value)) if inspect.isclass(value) else ""
    table = f"\n| method | what it does |\n| --- | --- |\n{methods}" if methods else ""
    return f"## {name}\n\n```python\n{prefix}.{name}{_signature(value)}\n```\n\n{text}\n{table}"


def _signature(value: Callable[..., Any]) -> str:
    """Arguments with their defaults, without annotations."""
    signature = inspect.signature(value)
    bare = [p.replace(annotation=p.empty, default=_named(p.default)) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _named(default: Any) -> Any:
    """A default as code: a function by its name, not by its address."""
    return _Code(default.__name__) if inspect.isfunction(default) else default


class _Code(str):
    """Text that is written without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _methods(value: type) -> Iterator[tuple[str, Any]]:
    for name, found in vars(value).items():
        if not name.startswith("_") and (inspect.isfunction(found) or isinstance(found, classmethod | property)):
            yield name, found


def _method(name: str, found: Any) -> str:
    first = (inspect.getdoc(found) or "").partition("\n")[0]
    return f"| `{name}` | {first.replace('|', chr(92) + '|')} |\n"


def docstring(text: str) -> str:
    """A docstring as Markdown: headings for its sections, lists of arguments, examples as code."""
    parts = _SECTION.split(re.sub(r":math:`([^`]*)`", r"$\1$", text))
    found = [parts[0].strip()]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        indented, rest = _indented(body)
        found += [_section(heading, textwrap.dedent(indented).strip()), rest.strip()]
    return "\n\n".join(filter(None, found)) + "\n"


def _indented(body: str) -> tuple[str, str]:
    """The indented lines that a section begins with, and what follows them."""
    lines = body.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(" ")), len(lines))
    return "".join(lines[:end]), "".join(lines[end:])


def _section(heading: str, body: str) -> str:
    if heading.startswith("Example"):
        return f"```python\n{body}\n```"
    if heading in ("Args", "Attributes", "Raises"):
        entries = re.split(r"\n(?=\S)", body)
        return f"{heading}:\n\n" + "\n".join(map(_item, entries))
    return f"{heading}: {' '.join(body.split())}"


def _item(entry: str) -> str:
    name, _, text = " ".join(entry.split()).partition(": ")
    return f"- `{name}`: {text}"


# ---------------------------------------------------------------------- commands
def commands() -> Mapping[str, Any]:
    """Name -> command, in the order of ``fanin --help``; the commands of a group as "group command"."""
    whole: Any = typer.main.get_command(app)  # typer has a copy of click of its own, so no class of click is named here
    return dict(_flat(whole.commands, ""))


def _flat(found: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, command in found.items():
        if hasattr(command, "commands"):
            yield from _flat(command.commands, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def with_commands(text: str) -> str:
    """The page of the command line with its tables made anew.

    Raises:
        ValueError: the page lacks the two lines that enclose the tables.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the page needs one line {BEGIN.strip()!r} and one line {END!r}")
    before, rest = text.split(BEGIN)
    made = "\n".join(_command(name, command) for name, command in commands().items())
    return f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}"


def _command(name: str, command: Any) -> str:
    arguments = " ".join(p.name.upper() for p in command.params if p.param_type_name == "argument")
    hints = get_type_hints(command.callback, include_extras=True)
    rows = [f"| {_spelling(p)} | {_help(p, hints.get(p.name))} |" for p in command.params]
    words = " ".join(inspect.cleandoc(command.help or "").split())
    return "\n".join([f"### fanin {name} {arguments}".rstrip(), "", words, "", "| | |", "| --- | --- |", *rows, ""])


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))


def _choices(hint: Any) -> Iterator[str]:
    """The strings that a type allows, wherever in it they are."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_origin(hint) is not Annotated:
        for part in get_args(hint):
            yield from _choices(part)
    else:
        yield from _choices(get_args(hint)[0])


def _help(parameter: Any, hint: Any) -> str:
    """What the option does, the values it takes, and its default."""
    words, choices = getattr(parameter, "help", "") or "", list(_choices(hint))
    allowed = f" One of {', '.join(f'`{c}`' for c in choices)}." if choices else ""
    default = parameter.default
    shown = (
        f" Default: `{default}`." if isinstance(default, str | int | float) and not isinstance(default, bool) else ""
    )
    return f"{words}{allowed}{shown}".replace("|", "\\|")


def write_pages() -> None:
    """Write all pages; the folder holds nothing else."""
    folder, page = DOCS / "reference", DOCS / "guide" / "command-line.md"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    page.write_text(with_commands(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_pages()
