"""Pseudonyms that replace removed values: keyed hashes, so equal values stay equal and only the key identifies them.

The key is never stored in the database, so a copy of the database does not reveal the values.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sagascope_collector.errors import CannotStart, StorageUnavailable

KEY_VARIABLE: Final = "SAGASCOPE_SCRUB_KEY"

DIGEST_BYTES: Final = 10
"""Number of bytes kept of the HMAC: among a billion values, the chance of a collision is 1 in 2 million."""

MIN_KEY_BYTES: Final = 16
"""Minimum length of the key; with a shorter key, all card numbers could be tried."""

GENERATED_KEY_BYTES: Final = 32

_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
"""Pseudonyms contain no digits, so they are never mistaken for card numbers."""

_PSEUDONYM: Final = re.compile(rf"scrubbed-[a-z0-9_-]+-[a-p]{{{2 * DIGEST_BYTES}}}")


class Pseudonyms:
    """Derives pseudonyms with HMAC-SHA-256."""

    def __init__(self, load_key: Callable[[], bytes]) -> None:
        """Keeps `load_key`, which is called once, for the first pseudonym."""
        self._load_key = load_key
        self._key = b""

    def __repr__(self) -> str:
        """Returns a text without the key."""
        return "Pseudonyms()"

    def of(self, kind: str, value: str) -> str:
        """Returns the pseudonym of a value, for example ``scrubbed-card-jmbkafpgihcndoel``.

        `kind` names the kind of value; values of different kinds have different pseudonyms.
        """
        self._key = self._key or self._load_key()
        digest = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")
        return f"scrubbed-{kind}-{digest[:DIGEST_BYTES].hex().translate(_LETTERS)}"


def is_pseudonym(text: str) -> bool:
    """Returns whether a text is a pseudonym already, as in telemetry that was exported and is imported again."""
    return _PSEUDONYM.fullmatch(text) is not None


def load_key(file: Path | None, environment: Mapping[str, str], db: str) -> Callable[[], bytes]:
    """Returns a function that returns the key: of the file, else of `KEY_VARIABLE`, else a generated one.

    A generated key is kept in a file beside the database that only its owner can read; it is created on the first call.

    Raises:
        CannotStart: the file cannot be read, or the key is too short.
    """
    if file or environment.get(KEY_VARIABLE):
        key = _checked(_read(file) if file else environment[KEY_VARIABLE].encode(), str(file or KEY_VARIABLE))
        return lambda: key
    if db.startswith(":"):
        return lambda: secrets.token_bytes(GENERATED_KEY_BYTES)
    generated = Path(f"{db}.scrub-key")
    return lambda: _checked(_read(generated), str(generated)) if generated.exists() else _generate(generated)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise CannotStart(f"The scrubbing key cannot be read from {file}: {error.strerror}.") from error


def _checked(key: bytes, source: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise CannotStart(f"The scrubbing key in {source} is too short: it needs at least {MIN_KEY_BYTES} bytes.")
    return key


def _generate(file: Path) -> bytes:
    """Creates a key, and syncs it to disk before it is used.

    Raises:
        StorageUnavailable: it cannot be written now.
    """
    key = secrets.token_hex(GENERATED_KEY_BYTES).encode()
    temporary = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            output.write(key)
            output.flush()
            os.fsync(output.fileno())
        temporary.replace(file)
    except OSError as error:
        raise StorageUnavailable(f"The scrubbing key {file} cannot be written: {error.strerror}.") from error
    return key
