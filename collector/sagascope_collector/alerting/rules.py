"""The file that says whom to wake, and for what."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sagascope_collector.alerting import templates
from sagascope_collector.client import schemas

SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit, such as 90s, 5m or 1h")
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError("is no duration: write it such as 90s, 5m or 1h")
    return float(found[1]) * SECONDS[found[2]]


def _http(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("should be an address that begins with http:// or https://")
    return url


Duration = Annotated[float, BeforeValidator(_duration)]
Url = Annotated[str, AfterValidator(_http)]
Word = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(StrEnum):
    """Who is at the other end of a webhook."""

    JSON = "json"
    ALERTMANAGER = "alertmanager"


class Webhook(_Part):
    """Where a notification goes."""

    name: Word
    url: Url
    kind: Kind = Kind.JSON
    token_env: Word | None = None
    """The variable of the collector's environment that holds a bearer token."""
    body: Annotated[dict[str, Any] | None, AfterValidator(templates.checked)] = None
    """What is sent instead of the usual JSON; ``{headline}`` and its like are filled in."""
    timeout: Duration = 10.0

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> "Webhook":
        if self.body is not None and self.kind is Kind.ALERTMANAGER:
            raise ValueError("Alertmanager has a body of its own: leave 'body' out")
        return self


class Match(_Part):
    """Which incidents a rule is about; what is left out does not matter."""

    environment: tuple[str, ...] | None = None
    name: tuple[Word, ...] | None = None
    step: tuple[Word, ...] | None = None
    service: tuple[Word, ...] | None = None
    reason: tuple[schemas.IncidentReason, ...] | None = None
    phase: tuple[schemas.PhaseName, ...] | None = None
    scope: tuple[schemas.ScopeName, ...] | None = None


class Rule(_Part):
    """When somebody is to be told of an incident. All that is said must hold."""

    name: Word
    match: Match = Match()
    sagas: Annotated[int, Field(ge=1)] = 1
    """At least so many sagas are part of it."""
    standing: Duration = 0.0
    """The first of them is stuck for at least so long."""
    amount_at_risk: dict[Annotated[str, Field(min_length=1, max_length=10)], Annotated[Decimal, Field(ge=0)]] = {}
    """The amount at risk, certain and possible together, is at least so much of one of these currencies."""
    tell: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    """The webhooks; all, where it is left out."""


class DeadMan(_Part):
    """A signal that keeps coming while all is well with the collector itself."""

    every: Annotated[Duration, Field(ge=1.0)] = 60.0
    tell: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None


USUAL: Final = (
    Rule(name="several stuck", sagas=10),
    Rule(name="nobody passes", match=Match(scope=("systemic",)), sagas=3),
    Rule(name="money is at risk", match=Match(reason=("applied_twice", "compensation_failed", "uncompensated"))),
    Rule(name="more fail than usual", match=Match(reason=("failure_rate",))),
    Rule.model_validate({"name": "one stuck for long", "standing": "5m"}),
)
"""The rules of a file that has none."""


class Alerts(_Part):
    """The file."""

    webhooks: Annotated[tuple[Webhook, ...], Field(min_length=1)]
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] = USUAL
    grown: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(max_length=20)] = (10, 100, 1_000, 10_000, 100_000)
    """Whoever was told of an incident is told again when it has grown to each of these."""
    over_after: Duration = 60.0
    """For how long an incident must be over before that is told: what returns sooner was not over."""
    link: str = ""
    """Where people see an incident, with ``{key}``; for example ``http://localhost:8501/incident?key={key}``."""
    dead_man: DeadMan | None = None

    def lacking(self, environment: Mapping[str, str]) -> list[str]:
        """One sentence for each webhook whose token is not there: it would be refused when it is needed."""
        return [
            f"The webhook {each.name!r} takes its token from {each.token_env}, which is not set."
            for each in self.webhooks
            if each.token_env and not environment.get(each.token_env)
        ]

    @model_validator(mode="after")
    def _names_fit(self) -> "Alerts":
        names = [each.name for each in self.webhooks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two webhooks are called {twice[0]!r}")
        wanted = [name for rule in self.rules for name in rule.tell or ()]
        wanted += (self.dead_man.tell or ()) if self.dead_man else ()
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise ValueError(f"no webhook is called {unknown[0]!r}")
        return self
