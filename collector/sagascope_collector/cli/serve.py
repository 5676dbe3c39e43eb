"""The options of `sagascope serve`, and what it prints."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from sagascope_collector import config_file, durations, runbooks
from sagascope_collector.access import Tokens, read_token, tls_of
from sagascope_collector.alerting import Alerts
from sagascope_collector.engines import BUILT_IN, read_mapping
from sagascope_collector.logging_setup import Format, Level
from sagascope_collector.scrubbing import Rules
from sagascope_collector.settings import Address, Settings, step_timeouts
from sagascope_collector.storage import Keep

Announce = Callable[[Mapping[str, str]], None]
"""Told once, when everything listens: the addresses by name."""

Run = Callable[[Settings, Announce], None]

DEFAULTS = Settings()

Database = Annotated[str, typer.Option("--db", envvar="SAGASCOPE_DB", help="The database file.", metavar="PATH")]
OtlpGrpc = Annotated[
    str, typer.Option("--otlp-grpc", envvar="SAGASCOPE_OTLP_GRPC", help="Takes OTLP over gRPC.", metavar="HOST:PORT")
]
OtlpHttp = Annotated[
    str, typer.Option("--otlp-http", envvar="SAGASCOPE_OTLP_HTTP", help="Takes OTLP over HTTP.", metavar="HOST:PORT")
]
Api = Annotated[str, typer.Option("--api", envvar="SAGASCOPE_API", help="The HTTP API.", metavar="HOST:PORT")]
StepTimeout = Annotated[
    list[str] | None,
    typer.Option(
        "--step-timeout",
        envvar="SAGASCOPE_STEP_TIMEOUT",
        help="How long a step may take whose telemetry does not say it. May be given several times.",
        metavar="NAME/STEP=SECONDS",
    ),
]
ReadyFile = Annotated[
    Path | None,
    typer.Option(
        "--ready-file",
        envvar="SAGASCOPE_READY_FILE",
        help="Written once everything listens: the addresses, as JSON.",
        metavar="PATH",
    ),
]
MaxRequestBytes = Annotated[
    int,
    typer.Option(
        "--max-request-bytes",
        envvar="SAGASCOPE_MAX_REQUEST_BYTES",
        help="How much an OTLP request may hold, decompressed.",
        metavar="BYTES",
        min=1024,
        max=2**31 - 1,
    ),
]
QueueBytes = Annotated[
    int,
    typer.Option(
        "--queue-bytes",
        envvar="SAGASCOPE_QUEUE_BYTES",
        help="How much may wait for the database; beyond it senders are told to come back.",
        metavar="BYTES",
        min=1024 * 1024,
    ),
]
Readers = Annotated[
    int,
    typer.Option(
        "--readers",
        envvar="SAGASCOPE_READERS",
        help="Calls of the API that read at one time; the others wait.",
        metavar="NUMBER",
        min=1,
        max=64,
    ),
]
ReadSeconds = Annotated[
    float,
    typer.Option(
        "--read-seconds",
        envvar="SAGASCOPE_READ_SECONDS",
        help="For how long a call of the API may wait, and then read; after that it is interrupted.",
        metavar="SECONDS",
        min=0.01,
        max=3600,
    ),
]
MemoryBytes = Annotated[
    int,
    typer.Option(
        "--memory-bytes",
        envvar="SAGASCOPE_MEMORY_BYTES",
        help="What the database may hold in memory; what needs more goes to disk.",
        metavar="BYTES",
        min=128 * 1024 * 1024,
    ),
]
IngestToken = Annotated[
    Path | None,
    typer.Option(
        "--ingest-token-file",
        envvar="SAGASCOPE_INGEST_TOKEN_FILE",
        help="Holds the token that senders need; or set SAGASCOPE_INGEST_TOKEN.",
        metavar="PATH",
    ),
]
ReadToken = Annotated[
    Path | None,
    typer.Option(
        "--read-token-file",
        envvar="SAGASCOPE_READ_TOKEN_FILE",
        help="Holds the token that readers need; or set SAGASCOPE_READ_TOKEN.",
        metavar="PATH",
    ),
]
ChangeToken = Annotated[
    Path | None,
    typer.Option(
        "--change-token-file",
        envvar="SAGASCOPE_CHANGE_TOKEN_FILE",
        help="Holds the token that changing something needs; or set SAGASCOPE_CHANGE_TOKEN.",
        metavar="PATH",
    ),
]
CorsOrigin = Annotated[
    list[str] | None,
    typer.Option(
        "--cors-origin",
        envvar="SAGASCOPE_CORS_ORIGIN",
        help="Web pages of this origin may send and read. May be given several times; none by default.",
        metavar="ORIGIN",
    ),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", envvar="SAGASCOPE_TLS_CERT", help="Certificate chain, for all ports.", metavar="PATH"),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", envvar="SAGASCOPE_TLS_KEY", help="Its private key.", metavar="PATH")
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        "--tls-client-ca",
        envvar="SAGASCOPE_TLS_CLIENT_CA",
        help="Clients must show a certificate that this has signed.",
        metavar="PATH",
    ),
]

DEFAULT_KEEP: Final = "30d"
FOREVER: Final = "forever"

KeepFor = Annotated[
    str,
    typer.Option(
        "--keep",
        envvar="SAGASCOPE_KEEP",
        help="How long transactions that ended and need no attention are kept: 30d, 12h, forever.",
        metavar="TIME",
    ),
]
KeepSize = Annotated[
    str | None,
    typer.Option(
        "--keep-size",
        envvar="SAGASCOPE_KEEP_SIZE",
        help="How much the database may hold, for example 200GB: the oldest of those are deleted beyond it.",
        metavar="SIZE",
    ),
]
SummaryOnlyAfter = Annotated[
    str | None,
    typer.Option(
        "--summary-only-after",
        envvar="SAGASCOPE_SUMMARY_ONLY_AFTER",
        help="After which time only the summary is kept of transactions that completed, for example 7d.",
        metavar="TIME",
    ),
]

AcceptDataLoss = Annotated[
    bool,
    typer.Option(
        "--accept-data-loss",
        envvar="SAGASCOPE_ACCEPT_DATA_LOSS",
        help="Go on although acknowledged records may be missing, for example after the write-ahead log was lost.",
    ),
]

Sql = Annotated[
    bool | None,
    typer.Option(
        "--sql/--no-sql",
        envvar="SAGASCOPE_SQL",
        help="Whether readers may query with SQL. Unless said, they may where the API listens on loopback.",
        show_default=False,
    ),
]

RunbookFile = Annotated[
    Path | None,
    typer.Option(
        "--runbooks",
        envvar="SAGASCOPE_RUNBOOKS",
        help="What else a verdict should say is to be done, in YAML; see docs/diagnosis.md.",
        metavar="FILE",
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        envvar="SAGASCOPE_MAPPING",
        help="How further telemetry says which saga and step it is of, in YAML; see docs/engines/attribute-mapping.md.",
        metavar="FILE",
    ),
]
ScrubFile = Annotated[
    Path | None,
    typer.Option(
        "--scrub",
        envvar="SAGASCOPE_SCRUB",
        help="What else than card numbers may not be kept, in YAML; see docs/privacy.md.",
        metavar="FILE",
    ),
]
ScrubKey = Annotated[
    Path | None,
    typer.Option(
        "--scrub-key-file",
        envvar="SAGASCOPE_SCRUB_KEY_FILE",
        help="Holds the key for hashing; or set SAGASCOPE_SCRUB_KEY. Else one is made beside the database.",
        metavar="PATH",
    ),
]

AlertsFile = Annotated[
    Path | None,
    typer.Option(
        "--alerts",
        envvar="SAGASCOPE_ALERTS",
        help="Whom to wake, and for what, in YAML; see docs/alerts.md.",
        metavar="FILE",
    ),
]

LogFormat = Annotated[
    Format,
    typer.Option("--log-format", envvar="SAGASCOPE_LOG_FORMAT", help="For people, or one JSON object a line."),
]
LogLevel = Annotated[
    Level, typer.Option("--log-level", envvar="SAGASCOPE_LOG_LEVEL", help="The least grave events that are written.")
]


def command(run: Run) -> Callable[..., None]:
    """The command; `run` serves until it is told to stop."""

    def serve(
        db: Database = DEFAULTS.db,
        otlp_grpc: OtlpGrpc = str(DEFAULTS.otlp_grpc),
        otlp_http: OtlpHttp = str(DEFAULTS.otlp_http),
        api: Api = str(DEFAULTS.api),
        step_timeout: StepTimeout = None,
        ready_file: ReadyFile = None,
        max_request_bytes: MaxRequestBytes = DEFAULTS.max_request_bytes,
        queue_bytes: QueueBytes = DEFAULTS.queue_bytes,
        readers: Readers = DEFAULTS.readers,
        read_seconds: ReadSeconds = DEFAULTS.read_seconds,
        memory_bytes: MemoryBytes = DEFAULTS.memory_bytes,
        keep: KeepFor = DEFAULT_KEEP,
        keep_size: KeepSize = None,
        summary_only_after: SummaryOnlyAfter = None,
        accept_data_loss: AcceptDataLoss = False,
        ingest_token_file: IngestToken = None,
        read_token_file: ReadToken = None,
        change_token_file: ChangeToken = None,
        cors_origin: CorsOrigin = None,
        tls_cert: TlsCertificate = None,
        tls_key: TlsKey = None,
        tls_client_ca: TlsClientCa = None,
        sql: Sql = None,
        runbook_file: RunbookFile = None,
        mapping: MappingFile = None,
        scrub: ScrubFile = None,
        scrub_key_file: ScrubKey = None,
        log_format: LogFormat = DEFAULTS.log_format,
        log_level: LogLevel = DEFAULTS.log_level,
        alerts: AlertsFile = None,
    ) -> None:
        """Run the collector until Ctrl-C.

        Port 0 takes any that is free; what is printed says which.
        """
        settings = Settings(
            db=db,
            otlp_grpc=Address.parse(otlp_grpc),
            otlp_http=Address.parse(otlp_http),
            api=Address.parse(api),
            step_timeouts=step_timeouts(step_timeout or ()),
            ready_file=ready_file,
            max_request_bytes=max_request_bytes,
            queue_bytes=queue_bytes,
            readers=readers,
            read_seconds=read_seconds,
            memory_bytes=memory_bytes,
            keep=Keep(
                seconds=None if keep == FOREVER else durations.seconds(keep),
                bytes=durations.size(keep_size) if keep_size else None,
                summary_seconds=durations.seconds(summary_only_after) if summary_only_after else None,
            ),
            accept_data_loss=accept_data_loss,
            tokens=Tokens(
                ingest=read_token("ingest", ingest_token_file, os.environ),
                read=read_token("read", read_token_file, os.environ),
                change=read_token("change", change_token_file, os.environ),
            ),
            sql=sql,
            cors_origins=tuple(cors_origin or ()),
            tls=tls_of(tls_cert, tls_key, tls_client_ca),
            runbooks=runbooks.read(runbook_file) if runbook_file else (),
            attribute_mapping=read_mapping(mapping) if mapping else BUILT_IN,
            scrub_rules=config_file.read(scrub, Rules) if scrub else Rules(),
            scrub_key=scrub_key_file,
            log_format=log_format,
            log_level=log_level,
            alerts=config_file.read(alerts, Alerts) if alerts else None,
        )
        run(settings, lambda addresses: _announce(settings.db, addresses))

    return serve


def _announce(db: str, addresses: Mapping[str, str]) -> None:
    typer.echo(f"Sagascope is listening; its database is {db}. Ctrl-C stops it.")
    typer.echo(f"  OTLP over gRPC  {addresses['otlp_grpc']}")
    typer.echo(f"  OTLP over HTTP  http://{addresses['otlp_http']}")
    typer.echo(f"  HTTP API        http://{addresses['api']}")
