"""What an attribute's value says where one word, or one number, is meant. Pure."""

from sagascope_collector.records import Value


def word(value: Value) -> str:
    """A string, or a whole number as people write it; anything else says nothing."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def count(value: Value) -> int:
    """A whole number from 1, or its digits; anything else is 0."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(2**63)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
