"""Stream keys: one for each (seed, parameter name, purpose)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fanin.errors import ArgumentError
from fanin.text.reading import shown

__all__ = ["Key", "key"]

_PERSON = b"fanin-v1"
_SEED_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class Key:
    """The 128 bits that a stream of numbers starts from, and what they were made from.

    Attributes:
        seed: the seed, 0 <= seed < 2**64.
        name: qualified name of the parameter (of a tied parameter: its first one).
        purpose: "" for values; a word such as "sparse" or "sign" for a second stream of the same parameter.
        key64: key of the Philox bijection.
        c2: third word of its counter.
        c3: fourth word of its counter.
    """

    seed: int
    name: str
    purpose: str
    key64: int
    c2: int
    c3: int

    def for_purpose(self, purpose: str) -> Key:
        """The key of another stream of the same parameter, independent of this one; purposes nest.

        Example:
            >>> key(0, "w").for_purpose("sign") == key(0, "w", purpose="sign")
            True
            >>> key(0, "w").for_purpose("part 1").for_purpose("sign").purpose
            'part 1/sign'
        """
        return key(self.seed, self.name, purpose=f"{self.purpose}/{purpose}" if self.purpose else purpose)


def key(seed: int, name: str, *, purpose: str = "") -> Key:
    """The key of the stream that fills the parameter `name` under `seed`.

    BLAKE2b (digest of 16 bytes, person "fanin-v1") of the UTF-8 name, keyed by the seed as 8 bytes little-endian; a
    purpose follows the name after a NUL byte. Bytes 0-7 are key64, 8-11 c2, 12-15 c3, all little-endian.

    Args:
        seed: 0 <= seed < 2**64.
        name: qualified parameter name, without NUL.
        purpose: which of the parameter's streams; "" is the one of its values.

    Raises:
        ArgumentError: a seed outside its range; a name or purpose that is no text, holds a NUL byte, or cannot be
            written in UTF-8.

    Source: Saarinen and Aumasson 2015, the BLAKE2 hash (RFC 7693).

    Example:
        >>> hex(key(0, "model.layers.0.self_attn.q_proj.weight").key64)
        '0x2217d2a0bc30f79c'
    """
    assert_seed(seed)
    one, two = _bytes("name", name), _bytes("purpose", purpose)
    message = one + (b"\0" + two if two else b"")
    digest = hashlib.blake2b(message, key=seed.to_bytes(8, "little"), person=_PERSON, digest_size=16).digest()
    key64, c2, c3 = (int.from_bytes(digest[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 16)))
    return Key(seed, name, purpose, key64, c2, c3)


def assert_seed(seed: object) -> None:
    """Check that it is a seed: a whole number with 0 <= seed < 2**64.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _SEED_LIMIT:
        raise ArgumentError(
            f"a seed is an integer with 0 <= seed < 2**64; got {shown(seed)}. Take int(seed) % 2**64 for others."
        )


def _bytes(what: str, text: str) -> bytes:
    """A name or a purpose in UTF-8."""
    if not isinstance(text, str) or "\0" in text:
        raise ArgumentError(f"a {what} is text without NUL bytes, which separate it from what follows; got {text!r}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ArgumentError(
            f"a {what} is text that UTF-8 can hold; got {text!r}, with half of a surrogate pair"
        ) from None
