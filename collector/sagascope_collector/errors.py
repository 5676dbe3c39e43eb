"""The tree of exceptions.

    SagascopeError
    ├── Refused            the request is invalid; a retry fails again
    │   ├── Undecodable        bytes that are not OTLP
    │   ├── TooLarge           a request that exceeds a limit
    │   ├── BadValue           a parameter with an invalid value
    │   │   └── BadCursor          a cursor that this collector did not issue
    │   ├── NotFound           an unknown saga or incident
    │   ├── Disabled           a call that is disabled
    │   ├── Unauthenticated    a required token is missing or wrong
    │   ├── UnknownHost        a call by a name that this server does not know
    │   ├── ForeignOrigin      a call from a page of another server
    │   └── NotJson            a change whose content is not sent as JSON
    ├── Unavailable        a temporary condition; a retry may succeed
    │   ├── Overloaded         the ingest queue, the read slots or the slot for SQL are occupied
    │   ├── ReadTooLong        a query exceeded its time limit
    │   └── StorageUnavailable   the database cannot be read or written now
    └── CannotStart        the collector cannot run with its settings
        ├── BadRules           a configuration file that cannot be read or is invalid
        ├── NewerDatabase      a later version has written the file
        ├── NotADatabase       the file is something else, or is damaged
        ├── DatabaseLocked     another process has it open
        └── PortTaken          an address is in use
    Errors of clients of a collector: SendFailed, SourceUnavailable, CheckpointLocked.

`api.responses`, `otlp.answers` and `cli.terminal` map them to HTTP, gRPC and exit codes.
"""

from typing import ClassVar

INSTALL = 'pip install "sagascope[all]" (from a checkout: pip install "/path/to/sagascope[all]")'
"""How all extras are installed."""


class SagascopeError(Exception):
    """The base of all errors. Its text is a sentence for users."""

    title: ClassVar[str] = "Error"

    @classmethod
    def kind(cls) -> str:
        """Returns the name of the class as a part of a URI: ``BadCursor`` is ``bad-cursor``."""
        return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).lstrip("-")


class Refused(SagascopeError):
    """The request is invalid; a retry fails again."""

    title = "Refused"


class Undecodable(Refused):
    """Bytes that are not OTLP."""

    title = "Not OTLP"


class TooLarge(Refused):
    """A request that exceeds a limit."""

    title = "Too large"


class BadValue(Refused):
    """A parameter with an invalid value."""

    title = "Bad value"


class BadCursor(BadValue):
    """A cursor that this collector did not issue."""

    title = "Bad cursor"


class NotFound(Refused):
    """An unknown saga or incident."""

    title = "Not found"


class Unauthenticated(Refused):
    """A required token is missing or wrong."""

    title = "Token required"


class Disabled(Refused):
    """A call that is disabled."""

    title = "Disabled"


class UnknownHost(Refused):
    """A call by a name that this server does not know."""

    title = "Unknown host"


class ForeignOrigin(Refused):
    """A call from a page of another server."""

    title = "Foreign origin"


class NotJson(Refused):
    """A change whose content is not sent as JSON."""

    title = "Not JSON"


class Unavailable(SagascopeError):
    """A temporary condition; a retry may succeed."""

    title = "Unavailable"
    retry_after: float = 1.0
    """The seconds to wait before a retry."""


class Overloaded(Unavailable):
    """The ingest queue is full, or no slot for a read or a SQL query became free in time."""

    title = "Overloaded"


class ReadTooLong(Unavailable):
    """A query exceeded its time limit and was interrupted."""

    title = "Query timed out"
    retry_after = 5.0


class StorageUnavailable(Unavailable):
    """The database cannot be read or written now."""

    title = "Store unavailable"


class CannotStart(SagascopeError):
    """The collector cannot run with its settings."""

    title = "Cannot start"


class BadRules(CannotStart):
    """A configuration file that cannot be read or is invalid. Its text has a line for each error."""

    title = "Invalid configuration file"


class NewerDatabase(CannotStart):
    """The database file was written by a later version."""

    title = "Database of a newer version"


class NotADatabase(CannotStart):
    """The file is not a database of Sagascope, or is damaged."""

    title = "Not a Sagascope database"


class DatabaseLocked(CannotStart):
    """Another process has the file open."""

    title = "Database in use"


class PortTaken(CannotStart):
    """An address is in use."""

    title = "Port taken"


class SendFailed(SagascopeError):
    """The collector accepts no more requests; acknowledged ones are stored."""

    title = "Send failed"


class SourceUnavailable(SagascopeError):
    """The system that a bridge follows does not respond; the bridge keeps trying."""

    title = "Source unavailable"


class CheckpointLocked(SagascopeError):
    """Another bridge uses this checkpoint file."""

    title = "Checkpoint file locked"
