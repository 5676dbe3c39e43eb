"""Which run of which workflow, as everything that is told of it begins."""

from typing import Any, NamedTuple

from sagascope import semconv


class Run(NamedTuple):
    """One run of a workflow."""

    workflow: str
    """The workflow's id."""
    type: str
    run: str
    queue: str = ""
    """The task queue of the workflow."""

    @property
    def stamp(self) -> dict[str, Any]:
        """The attributes of everything that belongs to it."""
        return {semconv.SAGA_ID: self.workflow, semconv.SAGA_NAME: self.type, semconv.SAGA_RUN_ID: self.run}


class Child(NamedTuple):
    """A child workflow, as its parent sees it."""

    workflow: str
    """Its id."""
    run: str
    """Its first run."""
    timeout: float | None = None
    """Seconds that it may take."""


class Call(NamedTuple):
    """A call of an activity, or of a child workflow, as a step of its run."""

    name: str
    key: str = ""
    """Tells the second call of one name, and every later one, from the first."""
    undoes: str = ""
    """The step that it undoes; ``""``: it is no compensation."""

    @property
    def stamp(self) -> dict[str, Any]:
        """The attributes that name the step."""
        said: dict[str, Any] = {
            semconv.STEP_NAME: self.name,
            semconv.STEP_TYPE: semconv.TYPE_COMPENSATION if self.undoes else semconv.TYPE_ACTION,
        }
        if self.key:
            said[semconv.STEP_KEY] = self.key
        if self.undoes:
            said[semconv.STEP_COMPENSATES] = self.undoes
        return said

    def write(self) -> dict[str, str]:
        """What a header tells the worker that takes it."""
        return {name: value for name, value in (("key", self.key), ("undoes", self.undoes)) if value}
