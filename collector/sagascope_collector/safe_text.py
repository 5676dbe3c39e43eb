"""Telemetry as text: nothing of it is interpreted by a terminal. Pure."""

import re

LONGEST: int = 2_000
"""Characters of one value that are shown; the rest is counted."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_DIRECTION = r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_OTHER = r"\u00ad\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"

_HARMFUL = re.compile(f"[{_CONTROL}{_DIRECTION}{_OTHER}]")
_HARMFUL_IN_TEXT = re.compile(f"(?!\n)[{_CONTROL}{_DIRECTION}{_OTHER}]")


def line(text: str, longest: int = LONGEST) -> str:
    r"""One line: what could move the cursor, colour or turn around the text is shown as ``\x1b``, ``\u202e``."""
    return _HARMFUL.sub(_shown, cut(text, longest))


def lines(text: str, longest: int = LONGEST) -> str:
    """Likewise, and line breaks stay."""
    return _HARMFUL_IN_TEXT.sub(_shown, cut(text, longest).replace("\r\n", "\n"))


def cut(text: str, longest: int) -> str:
    """The beginning of a long text, and how much is missing."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text) - longest:,} more characters)"


def _shown(harmful: re.Match[str]) -> str:
    number = ord(harmful[0])
    if number <= 0xFF:
        return {"\n": " ⏎ ", "\t": " "}.get(harmful[0], f"\\x{number:02x}")
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
