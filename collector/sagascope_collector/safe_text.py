"""Protects terminals and logs from what clients send.

Control characters and text direction have no effect, and a message that any client can cause is logged once in a while.
"""

import logging
import math
import re
import time
from typing import Final

MAX_CHARACTERS: Final = 2_000
"""The length at which values are truncated."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_DIRECTION = r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_OTHER = r"\u00ad\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"

_UNSAFE = re.compile(f"[{_CONTROL}{_DIRECTION}{_OTHER}]")
_UNSAFE_EXCEPT_BREAKS = re.compile(f"(?!\n)[{_CONTROL}{_DIRECTION}{_OTHER}]")


def line(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    r"""Returns one line, in which control and direction characters are escaped as ``\x1b`` or ``\u202e``."""
    return _UNSAFE.sub(_escape, cut(text, max_characters))


def lines(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Does the same as `line`, but keeps line breaks."""
    return _UNSAFE_EXCEPT_BREAKS.sub(_escape, cut(text, max_characters).replace("\r\n", "\n"))


def cut(text: str, max_characters: int) -> str:
    """Truncates a long text, and appends the number of omitted characters."""
    if len(text) <= max_characters:
        return text
    return f"{text[:max_characters]}… ({len(text) - max_characters:,} more characters)"


def without_password(url: str) -> str:
    """Returns a URL without user and password, to be shown or logged."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"  # an unescaped password may contain "/", a host no "@"


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number <= 0xFF:
        return {"\n": " ⏎ ", "\t": " "}.get(match[0], f"\\x{number:02x}")
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


REPEAT_SECONDS: Final = 60.0
"""The time in which a message that any client can cause is logged once."""


class RepeatFilter(logging.Filter):
    """Drops a message that was logged less than `REPEAT_SECONDS` ago, up to a severity."""

    def __init__(self, severity: int = logging.WARNING) -> None:
        super().__init__()
        self._severity = severity
        self._logged_at: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is logged."""
        now = time.monotonic()
        if record.levelno > self._severity or now - self._logged_at.get(record.msg, -math.inf) >= REPEAT_SECONDS:
            self._logged_at[record.msg] = now
            return True
        return False
