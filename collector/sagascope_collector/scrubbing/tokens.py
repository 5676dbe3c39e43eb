"""Stand-ins for values that may not be kept: the same value has the same one, and only the key leads back. Pure."""

import hmac
import re
from collections.abc import Callable
from typing import Final

BYTES: Final = 10
"""Of the HMAC that are kept: two of a billion values are one with a chance of 1 in 2 million."""

_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
"""A stand-in has no digits, so that it is never taken for a card number itself."""

_TOKEN: Final = re.compile(rf"scrubbed-[a-z0-9_-]+-[a-p]{{{2 * BYTES}}}")

SHORTEST_KEY: Final = 16
"""Bytes of a key: with a shorter one all card numbers can be tried."""


class Tokens:
    """Makes stand-ins with HMAC-SHA-256."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        """`key` is asked once, when the first stand-in is made."""
        self._ask = key
        self._key = b""

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "Tokens()"

    def token(self, kind: str, value: str) -> str:
        """The stand-in of a value, for example ``scrubbed-card-jmbkafpgihcndoel``; `kind` says what it stood for."""
        self._key = self._key or self._ask()
        digest = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")
        return f"scrubbed-{kind}-{digest[:BYTES].hex().translate(_LETTERS)}"


def is_token(text: str) -> bool:
    """Whether a text is a stand-in already, as in telemetry that was exported and is imported again."""
    return _TOKEN.fullmatch(text) is not None
