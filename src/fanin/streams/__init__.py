"""Where numbers come from: streams keyed by (seed, parameter name), the same on every engine."""

from fanin.streams.keys import Key, key
from fanin.streams.spec import Draw

__all__ = ["Draw", "Key", "key"]
