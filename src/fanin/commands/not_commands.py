"""What to do instead of a command that does not exist: calls of Python, and commands under other names."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from typer.core import TyperGroup

from fanin import __all__ as public_names
from fanin.commands.saying import fold_shown

__all__ = ["HINTS", "HintingGroup", "hint"]

# name -> the commands that do a part of it, or are meant by it
HINTS = MappingProxyType(
    {
        "compare": "'fanin diff' compares two plans, models or weights files",
        "watch": "'fanin report' prints a file that a watch saved",
        "fingerprint": "'fanin cert make' gives the certificate of a model's weights",
        "Certificate": "'fanin cert' makes, merges and compares certificates",
        "coordinate_check": "the command is 'fanin mup check'",
        "Report": "'fanin check' makes one, 'fanin report' prints a saved one",
        "initializers": "'fanin explain initializers' lists them",
        "init_": "the command is 'fanin init'",
    }
)


# what users type in place of a command -> the command
_MEANT = MappingProxyType({"help": "'fanin -h' lists the commands", "sweep": "the command is 'fanin mup sweep'"})


def hint(name: str) -> str:
    """A sentence on a name that is a call of Python, a rule or a target, and no command; empty for any other name.

    Example:
        >>> hint("watch")
        "fanin.watch is a call of Python; 'fanin report' prints a file that a watch saved."
        >>> hint("S203"), hint("model.py:build")
        ("A rule is explained by 'fanin explain S203'.", "A command comes first, as in 'fanin check model.py:build'.")
    """
    if name in _MEANT:
        return f"{_MEANT[name][:1].upper()}{_MEANT[name][1:]}."
    if re.fullmatch(r"[A-Za-z][0-9]{3}", name):
        return f"A rule is explained by 'fanin explain {name.upper()}'."
    if ":" in name or name.endswith(".py"):
        return f"A command comes first, as in 'fanin check {name}'."
    known = {public.strip("_").lower(): public for public in public_names if public != "__version__"}
    public = known.get(name.strip("_").lower().replace("-", "_"))
    if public is None:
        return ""
    told = HINTS.get(public)
    return f"fanin.{public} is a call of Python{f'; {told}' if told else ''}."


@contextlib.contextmanager
def _shown_folded() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):
            fold_shown(error)
        raise


class HintingGroup(TyperGroup):
    """Commands that say, of a name that is none, which call of Python or other command it may mean."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """As that of typer; what is wrong on the command line is shown in lines of the terminal's width."""
        with _shown_folded():
            return super().make_context(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As that of typer; an argument without a character in it, such as an unset variable of a shell, is refused."""
        if "" in args and not ctx.resilient_parsing:
            before = next((arg for arg, after in itertools.pairwise(args) if not after), "")
            behind = f" behind {before!r}" if before else ""
            ctx.fail(f"The argument{behind} is empty. Give a value, or leave it out; an unset shell variable is empty.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As that of typer; what is wrong on the command line is shown in lines of the terminal's width."""
        with _shown_folded():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and (told := hint(args[0])):
            ctx.fail(f"No such command {args[0]!r}. {told}")
        return super().resolve_command(ctx, args)
