"""Everything that can go wrong, as one tree.

    SagascopeError
    ├── Refused            the caller's fault; the same call will fail again
    │   ├── Undecodable        bytes that are no OTLP
    │   ├── TooLarge           a request over the size that is allowed
    │   ├── BadValue           a parameter with a value that cannot be meant
    │   │   └── BadCursor          a cursor that this collector did not give
    │   ├── NotFound           a saga, or an incident, that is not known
    │   ├── Disabled           a call that is switched off
    │   └── Unauthenticated    a token is needed, and was missing or wrong
    ├── Unavailable        nobody's fault; the same call may succeed later
    │   ├── Overloaded         the bounded queue is full
    │   ├── ReadTooLong        reading took longer than it may, and was interrupted
    │   └── StorageUnavailable   the database cannot take or give anything now
    └── CannotStart        the collector cannot run as it is set up
        ├── BadRules           a file of rules that cannot be read, or says what cannot be meant
        ├── NewerDatabase      the file was written by a later version
        ├── NotADatabase       the file is something else, or damaged
        ├── DatabaseLocked     another process has it open
        └── PortTaken          an address is in use
    Of those that speak with a collector, and are none: SendFailed, SourceUnavailable, CheckpointLocked.

Their HTTP, gRPC and exit codes are given once each: `api.problems`, `otlp.answers`, `cli.exits`.
"""

from typing import ClassVar


class SagascopeError(Exception):
    """The base of all. Its text is one sentence for a person."""

    title: ClassVar[str] = "Something went wrong"


class Refused(SagascopeError):
    """The caller's fault; the same call will fail again."""

    title = "Refused"


class Undecodable(Refused):
    """Bytes that are no OTLP."""

    title = "Not OTLP"


class TooLarge(Refused):
    """A request over the size that is allowed."""

    title = "Too large"


class BadValue(Refused):
    """A parameter with a value that cannot be meant."""

    title = "Bad value"


class BadCursor(BadValue):
    """A cursor that this collector did not give."""

    title = "Bad cursor"


class NotFound(Refused):
    """A saga, or an incident, that is not known."""

    title = "Not found"


class Unauthenticated(Refused):
    """A token is needed, and was missing or wrong."""

    title = "Token needed"


class Disabled(Refused):
    """A call that is switched off."""

    title = "Disabled"


class Unavailable(SagascopeError):
    """Nobody's fault; the same call may succeed later."""

    title = "Unavailable"
    retry_after: float = 1.0
    """Seconds to wait before the next try."""


class Overloaded(Unavailable):
    """The bounded queue is full."""

    title = "Overloaded"


class ReadTooLong(Unavailable):
    """Reading took longer than it may, and was interrupted."""

    title = "Took too long"
    retry_after = 5.0


class StorageUnavailable(Unavailable):
    """The database cannot take or give anything now."""

    title = "Store unavailable"


class CannotStart(SagascopeError):
    """The collector cannot run as it is set up."""

    title = "Cannot start"


class BadRules(CannotStart):
    """A file of rules that cannot be read, or says what cannot be meant. One line of text for each fault."""

    title = "Bad rules"


class NewerDatabase(CannotStart):
    """The file was written by a later version."""

    title = "Database of a newer version"


class NotADatabase(CannotStart):
    """The file is something else, or damaged."""

    title = "Not a Sagascope database"


class DatabaseLocked(CannotStart):
    """Another process has the file open."""

    title = "Database in use"


class PortTaken(CannotStart):
    """An address is in use."""

    title = "Port taken"


class SendFailed(SagascopeError):
    """A collector accepts no more requests; acknowledged ones are stored."""

    title = "Send failed"


class SourceUnavailable(SagascopeError):
    """The system that a bridge follows does not respond; the bridge keeps trying."""

    title = "Source unavailable"


class CheckpointLocked(SagascopeError):
    """Another bridge uses this checkpoint file."""

    title = "Checkpoint file locked"
