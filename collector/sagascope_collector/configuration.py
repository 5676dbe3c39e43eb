"""Loads the files that the settings name, before the collector starts: tokens, certificates and rules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from sagascope_collector import config_file
from sagascope_collector.access import Tls, Tokens, load_tls, load_token
from sagascope_collector.alerting import Alerts
from sagascope_collector.analysis import runbooks
from sagascope_collector.analysis.model import Phase
from sagascope_collector.analysis.runbooks import Runbook
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.config_file import Template
from sagascope_collector.engines import BUILT_IN, AttributeMapping, read_mapping
from sagascope_collector.scrubbing import Rules
from sagascope_collector.settings import Settings


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _among(*known: str) -> Callable[[list[str]], list[str]]:
    def check(words: list[str]) -> list[str]:
        for word in words:
            if word not in known:
                raise ValueError(f"{word!r} is none of {', '.join(known)}")
        return words

    return check


def _checked(parse: Callable[[str], Template]) -> Callable[[str], str]:
    def check(text: str) -> str:
        parse(text)
        return text

    return check


Word = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = Annotated[list[Word], BeforeValidator(_listed), Field(min_length=1)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class RunbookCondition(BaseModel, extra="forbid"):
    """The condition under which a runbook applies. Each field must match one of its entries; `*` is a wildcard."""

    name: Patterns | None = None
    environment: Patterns | None = None
    step: Patterns | None = None
    service: Patterns | None = None
    error_type: Patterns | None = None
    reason: Annotated[Patterns, AfterValidator(_among(*AttentionCode))] | None = None
    phase: Annotated[Patterns, AfterValidator(_among(*Phase))] | None = None


class RunbookRule(BaseModel, extra="forbid"):
    """One runbook."""

    when: RunbookCondition = RunbookCondition()
    do: Annotated[Text, AfterValidator(_checked(runbooks.parse))] | None = None
    link: Annotated[Text, AfterValidator(_checked(runbooks.link))] | None = None

    @model_validator(mode="after")
    def _require_text_or_link(self) -> "RunbookRule":
        if self.do is None and self.link is None:
            raise ValueError("says neither what to do nor where to read on: give `do`, `link` or both")
        return self


class RunbookFile(BaseModel, extra="forbid"):
    """All runbooks; those that apply to a saga are shown in the order of the file."""

    runbooks: list[RunbookRule] = []


def read_runbooks(path: Path) -> tuple[Runbook, ...]:
    """Reads the runbooks of a file.

    Raises:
        BadRules: the file cannot be read or is not valid; each error has its line.
    """
    return tuple(_runbook(each) for each in config_file.read(path, RunbookFile).runbooks)


def _runbook(rule: RunbookRule) -> Runbook:
    when = rule.when.model_dump(exclude_none=True)
    do = runbooks.parse(rule.do) if rule.do else None
    return Runbook(when, do, runbooks.link(rule.link) if rule.link else None)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the contents of the files that they name."""

    settings: Settings
    tokens: Tokens
    tls: Tls | None
    """None: connections are not encrypted."""
    runbooks: Sequence[Runbook]
    attribute_mapping: AttributeMapping
    scrub_rules: Rules
    alerts: Alerts | None

    @classmethod
    def load(cls, settings: Settings, environment: Mapping[str, str]) -> Self:
        """Reads and checks all files.

        Raises:
            CannotStart: a file cannot be read, or its content is not valid.
        """
        return cls(
            settings=settings,
            tokens=Tokens(
                ingest=load_token("ingest", settings.ingest_token_file, environment),
                read=load_token("read", settings.read_token_file, environment),
                change=load_token("change", settings.change_token_file, environment),
            ),
            tls=load_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca),
            runbooks=read_runbooks(settings.runbooks) if settings.runbooks else (),
            attribute_mapping=read_mapping(settings.mapping) if settings.mapping else BUILT_IN,
            scrub_rules=config_file.read(settings.scrub, Rules) if settings.scrub else Rules(),
            alerts=config_file.read(settings.alerts, Alerts) if settings.alerts else None,
        )

    def warnings(self, environment: Mapping[str, str]) -> list[str]:
        """Returns a sentence for each insecure port, and for each secret that alerts need and that is not set."""
        settings, tokens = self.settings, self.tokens
        ports = (
            ("--otlp-grpc", settings.otlp_grpc, "send telemetry", "--ingest-token-file", tokens.ingest),
            ("--otlp-http", settings.otlp_http, "send telemetry", "--ingest-token-file", tokens.ingest),
            ("--api", settings.api, "read all transactions", "--read-token-file", tokens.read),
        )
        warnings = []
        for option, address, permission, remedy, token in ports:
            if address.is_loopback:
                continue
            if not token and not (self.tls and self.tls.client_ca):
                warnings.append(
                    f"ANYONE who reaches {address} can {permission}: set a token with {remedy}, or keep {option} local."
                )
            if not self.tls:
                warnings.append(f"Connections to {address} are NOT ENCRYPTED: set --tls-cert and --tls-key.")
        return [*warnings, *(self.alerts.missing_tokens(environment) if self.alerts else [])]
