"""What people paste when they look for a saga, and what of it may be the id. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

WORDS: int = 6
"""Words of a longer text that are tried; a sentence has its id among the last ones that hold a digit."""

_AROUND = (
    " #*_`'\"()[]{}<>.,;:!?|\\\u00ab\u00b4\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2026\u2039\u203a"
)
"""Characters that people, chats and mail programs put around an id."""

_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.IGNORECASE)
_TELEMETRY_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{16}", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[\s=:,;|]+")


def peel(text: str) -> str:
    """Take off what stands around an id: ``"#8492?"`` is ``8492``. What is nothing else stays, stripped."""
    seen = _UNSEEN.sub(" ", text).strip()
    return seen.strip(_AROUND) or seen


def readings(text: str) -> list[str]:
    """What may have been meant as one id, key or trace: exactly as it stands, then peeled more and more."""
    seen = _UNSEEN.sub(" ", text).strip()
    found = [text, seen, *_from_link(seen), peel(seen), *_TRACEPARENT.findall(seen)]
    lowered = [each.lower() for each in found if _TELEMETRY_ID.fullmatch(each)]
    return _distinct(found + lowered)


def words(text: str) -> list[str]:
    """The words of a longer text that may be an id: those with a digit first, the last of them before the others."""
    peeled = _distinct(peel(each) for each in reversed(_BETWEEN_WORDS.split(text)))
    ranked = sorted(peeled, key=lambda word: not any(letter.isdigit() for letter in word))
    return ranked[:WORDS] if len(ranked) > 1 else []


def telemetry_ids(text: str) -> list[str]:
    """Those readings that have the form of a trace or span id, in lower case."""
    return _distinct(each.lower() for each in readings(text) if _TELEMETRY_ID.fullmatch(each))


def _from_link(text: str) -> list[str]:
    """The id in a pasted link to a saga's page, or to the API."""
    if "://" not in text:
        return []
    try:
        link = urlsplit(text)
    except ValueError:
        return []
    return [value for name, value in parse_qsl(link.query) if name in {"id", "q"}]


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
