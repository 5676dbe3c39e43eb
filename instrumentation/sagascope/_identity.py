"""Which saga, and what a step knows of the saga that it belongs to."""

from typing import NamedTuple, Protocol

from opentelemetry.context import Context

from sagascope._plan import Plan


class Identity(NamedTuple):
    """Which saga: what people quote, its type, and its run where one id has several."""

    id: str
    name: str = ""
    run: str = ""


class Whole(Protocol):
    """A saga as its steps see it."""

    identity: Identity
    plan: Plan | None

    def undoes(self, compensation: str) -> str | None:
        """The step that a compensation of this name undoes: the latest committed one of the plan."""
        ...

    def note(self, kind: str, step: str, key: str, compensates: str | None) -> None:
        """Take note of an attempt that ended well."""
        ...

    def context_for(self, context: Context) -> Context:
        """Where a step of this saga stands that is opened in a context outside it."""
        ...
