"""What a check has found."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class State(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    """It works, and will not for long."""
    PROBLEM = "problem"
    SKIPPED = "skipped"
    """It could not be looked at, because of something else."""


class Result(BaseModel):
    """One check."""

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    text: str
    """One sentence."""
    advice: str | None = None
    """What to do."""


def ok(check: str, text: str) -> Result:
    """All is well."""
    return Result(check=check, state=State.OK, text=text)


def warning(check: str, text: str, advice: str) -> Result:
    """It works, and will not for long."""
    return Result(check=check, state=State.WARNING, text=text, advice=advice)


def problem(check: str, text: str, advice: str) -> Result:
    """It does not work."""
    return Result(check=check, state=State.PROBLEM, text=text, advice=advice)


def skipped(check: str, text: str) -> Result:
    """It could not be looked at."""
    return Result(check=check, state=State.SKIPPED, text=text)
