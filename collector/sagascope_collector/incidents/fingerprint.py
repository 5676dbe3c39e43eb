"""Fingerprints of errors: their text without what differs from saga to saga. Pure."""

import re
from typing import Final

MAX_MESSAGE_CHARACTERS: Final = 2_000
"""Characters of a message that are used; what follows distinguishes no causes."""

MAX_FINGERPRINT_CHARACTERS: Final = 200

_STRIPPED: Final = (
    ("url", r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s\"'<>)\]]+"),
    ("email", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("uuid", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("time", r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    ("time", r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b"),
    ("address", r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"),
    ("address", r"\[[0-9a-fA-F]*:[0-9a-fA-F:.]*\](?::\d{1,5})?"),
    ("address", r"\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b"),
    ("address", r"\b[a-zA-Z][\w-]*(?:\.[\w-]+)*:\d{2,5}\b"),
    ("address", r"\b0[xX][0-9a-fA-F]+\b"),
    ("path", r"(?<![\w<>])(?:[a-zA-Z]:)?(?:[\\/][\w.@+~-]+){2,}[\\/]?"),
    ("hex", r"\b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b"),
    ("kept", r"\b(?i:http(?:/[\d.]+)?|status(?: code)?)[ =:]{1,3}[1-5]\d\d\b"),
    ("number", r"(?<![\w.])[+-]?\d[\d_]*(?:[.,]\d+)*(?:%|(?i:ms|us|ns|s|m|h|kb|mb|gb|kib|mib|gib|b)\b)?(?![\w-])"),
    ("id", r"\b[\w-]*\d[\w-]*\b"),
)
"""What is replaced, by its kind; the first pattern that matches at a position counts."""

_STRIP: Final = re.compile("|".join(f"(?P<{kind}_{place}>{form})" for place, (kind, form) in enumerate(_STRIPPED)))
_REPEATED: Final = re.compile(r"(<\w+>)(?:[\s,;]+\1)+")
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def fingerprint(error_type: str | None, message: str | None) -> str:
    """Returns what all errors of one cause have in common; ``""`` where there is no error.

    Ids, numbers, UUIDs, times, paths and addresses are replaced by what they are. An HTTP status stays: 404 and 503
    have different causes.
    """
    first_line = _ANSI.sub("", message or "")[:MAX_MESSAGE_CHARACTERS].lstrip().partition("\n")[0]
    text = _SPACE.sub(" ", _STRIP.sub(_kind, first_line)).strip()
    parts = [part for part in (error_type or "", _REPEATED.sub(r"\1", text)) if part]
    return ": ".join(parts)[:MAX_FINGERPRINT_CHARACTERS]


def _kind(found: re.Match[str]) -> str:
    kind = (found.lastgroup or "").partition("_")[0]
    return found.group() if kind == "kept" else f"<{kind}>"
