"""What to do instead of a command that does not exist: calls of Python, and commands under other names."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from typer.core import TyperGroup

from fanin import __all__ as public_names

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


def hint(name: str) -> str:
    """A sentence on a name that is a call of Python and no command; empty for any other name.

    Example:
        >>> hint("watch")
        "fanin.watch is a call of Python; 'fanin report' prints a file that a watch saved."
    """
    known = {public.strip("_").lower(): public for public in public_names if public != "__version__"}
    public = known.get(name.strip("_").lower().replace("-", "_"))
    if public is None:
        return ""
    told = HINTS.get(public)
    return f"fanin.{public} is a call of Python{f'; {told}' if told else ''}."


class HintingGroup(TyperGroup):
    """Commands that say, of a name that is none, which call of Python or other command it may mean."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and (told := hint(args[0])):
            ctx.fail(f"No such command {args[0]!r}. {told}")
        return super().resolve_command(ctx, args)
