"""The alerts file with its receivers and rules, and which receivers an incident notifies by them. Pure."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sagascope_collector.alerting import messages
from sagascope_collector.client import schemas
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, parse_duration
from sagascope_collector.errors import BadValue
from sagascope_collector.incident_records import AlertState
from sagascope_collector.incidents import Incident, State


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit, such as 90s, 5m or 1h")
    try:
        return parse_duration(value)
    except BadValue as error:
        raise ValueError(str(error)) from error


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("should be an address that begins with http:// or https://")
    return url


Duration = Annotated[float, BeforeValidator(_seconds)]
"""Seconds; the file states a number with its unit."""

Url = Annotated[str, AfterValidator(_check_url)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ReceiverNames = Annotated[tuple[Name, ...], Field(min_length=1)]


class _FileModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceiverType(StrEnum):
    """The protocol that a receiver speaks; `channels` has one class for each."""

    WEBHOOK = "webhook"
    ALERTMANAGER = "alertmanager"


class Escape(StrEnum):
    """How telemetry is escaped in the body of a receiver."""

    CHAT = "chat"
    """No markup and no address (``://``, ``www.``) in a text of a saga becomes a link or a mention.

    For Slack, Mattermost, Teams and Discord.
    """
    NONE = "none"
    """Nothing is escaped, for receivers that show plain text."""


class Receiver(_FileModel):
    """An address to which notifications are posted."""

    name: Name
    url: Url
    type: ReceiverType = ReceiverType.WEBHOOK
    token_env: Name | None = None
    """The variable of the collector's environment that holds a bearer token."""
    body: Annotated[dict[str, Any] | None, AfterValidator(messages.check_template)] = None
    """The body that replaces the default JSON; ``{headline}`` and other fields are filled in."""
    escape: Escape = Escape.CHAT
    """How the fields of `body` are escaped."""
    timeout: Annotated[Duration, Field(gt=0)] = 10.0

    @model_validator(mode="after")
    def _check_body(self) -> "Receiver":
        if self.body is not None and self.type is not ReceiverType.WEBHOOK:
            raise ValueError("only a receiver of the type 'webhook' may have a 'body'")
        return self


class Match(_FileModel):
    """The incidents that a rule applies to; a key that is left out matches all of them."""

    environment: tuple[str, ...] | None = None
    name: tuple[Name, ...] | None = None
    step: tuple[Name, ...] | None = None
    service: tuple[Name, ...] | None = None
    reason: tuple[schemas.IncidentReason, ...] | None = None
    phase: tuple[schemas.PhaseName, ...] | None = None
    scope: tuple[schemas.ScopeName, ...] | None = None


class Rule(_FileModel):
    """When an incident notifies receivers. All conditions must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    name: Name
    match: Match = Match()
    sagas: Annotated[int, Field(ge=1)] = 1
    """The incident has at least this many sagas."""
    for_: Annotated[Duration, Field(alias="for")] = 0.0
    """The incident has lasted for at least this long."""
    amount_at_risk: dict[Annotated[str, Field(min_length=1, max_length=10)], Annotated[Decimal, Field(ge=0)]] = {}
    """The amount at risk, certain and possible together, is at least this in one of these currencies."""
    receivers: ReceiverNames | None = None
    """The receivers by name; None: all of them."""


class Watchdog(_FileModel):
    """A signal that is repeated while the collector receives and evaluates telemetry (a dead man's switch)."""

    interval: Annotated[Duration, Field(ge=1.0)] = 60.0
    receivers: ReceiverNames | None = None


MONEY_AT_RISK: Final = tuple(code for code in schemas.AttentionCode if code.risks_money)

DEFAULT_RULES: Final = (
    Rule(name="many sagas are stuck", sagas=10),
    Rule(name="no other saga succeeds", match=Match(scope=("systemic",)), sagas=3),
    Rule(name="money is at risk", match=Match(reason=MONEY_AT_RISK)),
    Rule(name="more sagas fail than usual", match=Match(reason=("failure_rate",))),
    Rule(name="a saga is stuck for long", for_="5m"),  # type: ignore[arg-type]  # written as in a file
)
"""The rules of a file that has none."""


class Alerts(_FileModel):
    """The alerts file."""

    receivers: Annotated[tuple[Receiver, ...], Field(min_length=1)]
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] = DEFAULT_RULES
    growth_steps: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(max_length=20)] = (
        10, 100, 1_000, 10_000, 100_000,
    )  # fmt: skip
    """Numbers of sagas at which the receivers of an incident are notified again."""
    resolve_after: Duration = 60.0
    """Seconds for which an incident must be resolved before receivers are notified.

    An earlier return is not a new incident.
    """
    link: str = ""
    """The page of an incident, with ``{key}``; for example ``http://localhost:8501/incident?key={key}``."""
    watchdog: Watchdog | None = None

    def missing_tokens(self, environment: Mapping[str, str]) -> list[str]:
        """Returns one sentence for each receiver whose token is not in the environment."""
        return [
            f"The receiver {each.name!r} takes its token from {each.token_env}, which is not set."
            for each in self.receivers
            if each.token_env and not environment.get(each.token_env)
        ]

    @model_validator(mode="after")
    def _check_names(self) -> "Alerts":
        names = [each.name for each in self.receivers]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(f"two receivers have the name {duplicates[0]!r}")
        wanted = [name for rule in self.rules for name in rule.receivers or ()]
        wanted += (self.watchdog.receivers or ()) if self.watchdog else ()
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise ValueError(f"no receiver has the name {unknown[0]!r}")
        return self


class Event(StrEnum):
    """What a notification reports."""

    OPENED = "opened"
    GROWN = "grown"
    RESOLVED = "resolved"


class Decision(NamedTuple):
    """A change of a receiver's state for an incident."""

    state: AlertState
    event: Event | None
    """None: the receiver is not notified."""
    rule: str


ABSENCE_REASONS: Final = frozenset(
    # the end of a hung attempt may be among the records that were not received
    {schemas.AttentionCode.HUNG, *(code for code in schemas.AttentionCode if code.rests_on_absence)}
)
"""Reasons that may rest on telemetry that was not received."""

AlertStates = Mapping[tuple[str, str], AlertState]
"""The states of receivers, by (receiver, incident)."""


def decide(alerts: Alerts, incident: Incident, states: AlertStates, now: int) -> list[Decision]:
    """Returns the current changes for all receivers of one incident; empty if nothing changes."""
    rules = {} if incident.state is State.RESOLVED else recipients(alerts, incident, now)
    names = [each.name for each in alerts.receivers]
    found = (
        _decision(alerts, incident, states.get((name, incident.key)), name, rules.get(name), now) for name in names
    )
    return [each for each in found if each]


def rests_on_absence(incident: Incident, unreliable: Collection[str]) -> bool:
    """Returns whether an incident may exist only because telemetry is missing in an environment of `unreliable`."""
    return (
        incident.environment in unreliable
        and incident.reason in ABSENCE_REASONS
        and incident.state is not State.RESOLVED
    )


def recipients(alerts: Alerts, incident: Incident, now: int) -> dict[str, str]:
    """Returns the receivers that an incident notifies, each with the name of the first matching rule."""
    all_ = [each.name for each in alerts.receivers]
    found: dict[str, str] = {}
    for rule in alerts.rules:
        if _applies(rule, incident, now):
            for receiver in rule.receivers or all_:
                found.setdefault(receiver, rule.name)
    return found


def _applies(rule: Rule, incident: Incident, now: int) -> bool:
    return (
        _matches(rule, incident)
        and incident.count >= rule.sagas
        and now - min(incident.since, incident.opened_at) >= rule.for_ * NANOSECONDS_PER_SECOND
        and (not rule.amount_at_risk or _has_amount(rule, incident))
    )


def _matches(rule: Rule, incident: Incident) -> bool:
    match = rule.match
    conditions: tuple[tuple[Sequence[str] | None, str], ...] = (
        (match.environment, incident.environment),
        (match.name, incident.name),
        (match.step, incident.step),
        (match.service, incident.service),
        (match.reason, incident.reason),
        (match.phase, incident.phase),
        (match.scope, incident.scope.value),
    )
    return all(allowed is None or value in allowed for allowed, value in conditions)


def _has_amount(rule: Rule, incident: Incident) -> bool:
    at_risk = {each.currency: each.certain + each.possible for each in incident.amounts}
    return any(at_risk.get(currency, Decimal(-1)) >= least for currency, least in rule.amount_at_risk.items())


def _decision(
    alerts: Alerts, incident: Incident, state: AlertState | None, receiver: str, rule: str | None, now: int
) -> Decision | None:
    if state is None or state.is_resolved:
        return None if rule is None else _opened(alerts, incident, receiver, rule, now)
    if incident.state is State.RESOLVED:
        return _resolved(alerts, state, now)
    step = _growth_step(alerts, incident.count)
    if step > state.growth_step:
        return Decision(state._replace(growth_step=step, resolved_since=None), Event.GROWN, rule or "")
    if state.resolved_since is not None:
        return Decision(state._replace(resolved_since=None), None, "")
    return None


def _opened(alerts: Alerts, incident: Incident, receiver: str, rule: str, now: int) -> Decision:
    step = _growth_step(alerts, incident.count)
    state = AlertState(receiver, incident.key, now, step, is_resolved=False, resolved_since=None)
    return Decision(state, Event.OPENED, rule)


def _resolved(alerts: Alerts, state: AlertState, now: int) -> Decision | None:
    if state.resolved_since is None and alerts.resolve_after > 0:
        return Decision(state._replace(resolved_since=now), None, "")
    if now - (state.resolved_since or 0) < alerts.resolve_after * NANOSECONDS_PER_SECOND:
        return None
    return Decision(state._replace(is_resolved=True), Event.RESOLVED, "")


def _growth_step(alerts: Alerts, count: int) -> int:
    """Returns the largest growth step that this number of sagas has reached; 0 if none."""
    return max((step for step in alerts.growth_steps if count >= step), default=0)
