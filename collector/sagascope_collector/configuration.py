"""Loads what the settings name, before anything starts: tokens, certificates and files of rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sagascope_collector import config_file, runbooks
from sagascope_collector.access import Tls, Tokens, load_tls, load_token
from sagascope_collector.alerting import Alerts
from sagascope_collector.analysis.runbooks import Runbook
from sagascope_collector.engines import BUILT_IN, AttributeMapping, read_mapping
from sagascope_collector.scrubbing import Rules
from sagascope_collector.settings import Settings


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
            runbooks=runbooks.read(settings.runbooks) if settings.runbooks else (),
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
