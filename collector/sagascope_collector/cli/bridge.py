"""The command `bridge`: follows another system and reports its state to a collector."""

import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from sagascope_collector import logging_setup
from sagascope_collector.archives import Sender
from sagascope_collector.bridges import Bridge, CheckpointFile, Health, Heartbeats, Source, serve_metrics
from sagascope_collector.bridges.postgres import (
    Checkpoint as PostgresCheckpoint,
    Database,
    GlobalIdFormat,
    PostgresSource,
)
from sagascope_collector.bridges.tables import (
    Checkpoint as TablesCheckpoint,
    TablesSource,
    built_in_mappings,
    read_mapping,
)
from sagascope_collector.cli.options import OtlpHttp, Url, flag, otlp_http_url, with_credentials
from sagascope_collector.client import DEFAULT_URL, Credentials
from sagascope_collector.errors import BadValue, CannotStart
from sagascope_collector.logging_setup import Format, Level
from sagascope_collector.settings import Address

_log = logging.getLogger(__name__)

Checkpoint = TypeVar("Checkpoint", bound=BaseModel)

PollInterval = Annotated[float, flag("every", "The interval between two polls.", "SECONDS", min=0.1)]
CursorFile = Annotated[Path, flag("cursor", "The file that stores the checkpoint.", "PATH")]
Metrics = Annotated[str | None, flag("metrics", "Serve Prometheus metrics of the bridge at this address.", "HOST:PORT")]
Environment = Annotated[str, flag("environment", "The environment of the reported sagas.", "NAME")]
Name = Annotated[
    str, flag("name", "The saga type, where neither the global id nor other telemetry contains it.", "NAME")
]
Dsn = Annotated[
    list[str],
    flag(
        "dsn",
        "A database to follow, and the name of the participant. Can be given several times. "
        "Keep the password in PGPASSFILE or a service file.",
        "NAME=DSN",
    ),
]
GlobalIdPattern = Annotated[
    str | None,
    flag(
        "gid",
        "The format of global ids: a group (?P<id>...), optionally (?P<name>...), (?P<run>...), (?P<participant>...).",
        "REGEX",
    ),
]

DatabaseDsn = Annotated[
    str, flag("dsn", "The database to follow. Keep the password in PGPASSFILE or a service file.", "DSN")
]
MappingName = Annotated[
    str,
    flag("mapping", f"The mapping of the columns: a file, or one of {', '.join(built_in_mappings())}.", "NAME|FILE"),
]
History = Annotated[bool, flag("history", "Also report rows that ended before the first poll.")]

TemporalAddress = Annotated[
    str, flag("address", "The gRPC address of the Temporal server.", "HOST:PORT", envvar="TEMPORAL_ADDRESS")
]
Namespaces = Annotated[
    list[str] | None,
    flag(
        "namespace",
        "A namespace to follow. Can be given several times.",
        "NAME",
        envvar="TEMPORAL_NAMESPACE",
        show_default="default",
    ),
]


def _file(name: str, text: str, variable: str | None = None) -> Any:
    """Returns the option of a file that must exist."""
    return flag(name, text, "PATH", envvar=variable, exists=True, dir_okay=False)


ApiKeyFile = Annotated[
    Path | None,
    _file(
        "api-key-file",
        "A file with the API key for Temporal. The connection then uses TLS.",
        "SAGASCOPE_TEMPORAL_API_KEY_FILE",
    ),
]
TemporalTls = Annotated[bool, flag("tls", "Use TLS for the connection to Temporal.", envvar="TEMPORAL_TLS")]
TlsRoots = Annotated[
    Path | None, _file("tls-roots", "The trusted root certificates in PEM, instead of those of this machine.")
]
TlsCertificate = Annotated[Path | None, _file("tls-cert", "The bridge's certificate in PEM, for mTLS.")]
TlsKey = Annotated[Path | None, _file("tls-key", "The private key of the certificate, in PEM.")]
Compensations = Annotated[
    list[str] | None,
    flag(
        "compensation",
        "An activity that compensates another one, if its name does not show it. Can be given several times.",
        "ACTIVITY=STEP",
    ),
]

bridge = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@bridge.callback()
def _bridges() -> None:
    """Follow another system and report its state to a collector.

    The collector shows it together with the telemetry of the services.
    """


@bridge.command("postgres", short_help="Follow prepared transactions of PostgreSQL.")
@with_credentials
def postgres(
    dsn: Dsn,
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    otlp_http: OtlpHttp = None,
    gid: GlobalIdPattern = None,
    name: Name = "",
    environment: Environment = "",
    every: PollInterval = 1.0,
    cursor: CursorFile = Path("sagascope-postgres.cursor"),
    metrics_at: Metrics = None,
) -> None:
    """Follow prepared transactions of PostgreSQL, until Ctrl-C.

    A participant that is prepared and not decided is in doubt. The bridge only reads: the saga shows the statement to
    run, and a person runs it.
    """
    databases = [_database(each) for each in dsn]
    if len({each.name for each in databases}) < len(databases):
        raise BadValue("Two databases have the same name. Give each its own.")
    to = _Destination(otlp_http_url(url, otlp_http, credentials), credentials)
    with PostgresSource(databases, GlobalIdFormat(gid), environment=environment, saga_name=name) as source:
        _follow("postgres", source, CheckpointFile(cursor, PostgresCheckpoint), to, every, metrics_at)


@bridge.command("sql", short_help="Follow tables that hold the state of sagas.")
@with_credentials
def tables(
    dsn: DatabaseDsn,
    mapping: MappingName,
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    otlp_http: OtlpHttp = None,
    environment: Environment = "",
    history: History = False,
    every: PollInterval = 1.0,
    cursor: CursorFile = Path("sagascope-sql.cursor"),
    metrics_at: Metrics = None,
) -> None:
    """Follow tables of PostgreSQL that hold the state of sagas, until Ctrl-C.

    A row without a final state is shown as work in flight. The bridge only reads, a bounded number of rows at a time.
    """
    to = _Destination(otlp_http_url(url, otlp_http, credentials), credentials)
    with TablesSource(dsn, read_mapping(mapping), environment=environment, history=history) as source:
        _follow("sql", source, CheckpointFile(cursor, TablesCheckpoint), to, every, metrics_at)


@bridge.command("temporal", short_help="Follow workflows of Temporal.")
@with_credentials
def temporal(
    credentials: Credentials,
    address: TemporalAddress = "127.0.0.1:7233",
    namespace: Namespaces = None,
    api_key_file: ApiKeyFile = None,
    tls: TemporalTls = False,
    tls_roots: TlsRoots = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    compensation: Compensations = None,
    url: Url = DEFAULT_URL,
    otlp_http: OtlpHttp = None,
    environment: Environment = "",
    every: PollInterval = 1.0,
    cursor: CursorFile = Path("sagascope-temporal.cursor"),
    metrics_at: Metrics = None,
) -> None:
    """Follow the open workflows of a Temporal server, until Ctrl-C.

    A workflow is a saga, its activities are the steps. The bridge reports what only the server knows: failed attempts
    and the next one, task queues without workers, paused activities, timers. It only reads, and needs no change in the
    services.
    """
    try:
        from sagascope_collector.bridges.temporal import (
            Checkpoint as TemporalCheckpoint,
            TemporalClient,
            TemporalSource,
            Tls,
        )
    except ModuleNotFoundError as error:
        raise CannotStart(f'This needs {error.name}. Run: pip install "sagascope[bridges]"') from error

    to = _Destination(otlp_http_url(url, otlp_http, credentials), credentials)
    files = [each.read_bytes() if each is not None else None for each in (tls_roots, tls_cert, tls_key)]
    key = api_key_file.read_text().strip() if api_key_file is not None else ""
    secured = Tls(*files) if tls or key or any(files) else None
    with (
        TemporalClient(address, api_key=key, tls=secured) as client,
        TemporalSource(
            client, namespace or ["default"], environment=environment, compensates=_pairs(compensation or [])
        ) as source,
    ):
        _follow("temporal", source, CheckpointFile(cursor, TemporalCheckpoint), to, every, metrics_at)


@dataclass(frozen=True, slots=True)
class _Destination:
    """The collector that receives the reports."""

    otlp_http: str
    credentials: Credentials


def _follow(
    kind: str,
    source: Source[Checkpoint],
    checkpoints: CheckpointFile[Checkpoint],
    to: _Destination,
    every: float,
    metrics_at: str | None,
) -> None:
    logging_setup.configure(Format.TEXT, Level.INFO)
    with (
        Sender(to.otlp_http, to.credentials) as sender,
        # not retried: the next heartbeat reports a newer state
        Sender(to.otlp_http, to.credentials, retry_seconds=0) as heartbeat_sender,
    ):
        health = Health()
        running = Bridge(source, sender, checkpoints, health, interval_seconds=every)
        _log.info("The bridge reports to %s; its checkpoint file is %s.", sender.url, checkpoints.path)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: running.stop())
        with serve_metrics(health, kind, Address.parse(metrics_at) if metrics_at else None):
            running.run(Heartbeats(health, kind, checkpoints.path, heartbeat_sender))


def _database(text: str) -> Database:
    name, is_named, dsn = text.partition("=")
    if not is_named or not name or not dsn or "://" in name or " " in name:
        raise BadValue("--dsn is NAME=DSN, for example wallet=postgresql://db-1/wallet.")
    return Database(name, dsn)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(activity and step for activity, _, step in pairs):
        raise BadValue("--compensation is ACTIVITY=STEP, for example refund=charge.")
    return {activity: step for activity, _, step in pairs}
