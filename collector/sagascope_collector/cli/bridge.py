"""The command `bridge`: follows a system that does not speak of sagas itself, and tells a collector what it knows."""

import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from sagascope_collector import logging_setup
from sagascope_collector.archives import Sender
from sagascope_collector.bridges import Bridge, Cursor, Pulse, Source, metrics
from sagascope_collector.bridges.postgres import Database, Gids, Place, Postgres
from sagascope_collector.bridges.tables import Place as TablesPlace
from sagascope_collector.bridges.tables import Tables, read_mapping, ready
from sagascope_collector.cli.connection import Url, with_credentials
from sagascope_collector.cli.importing import OtlpHttp, place_of
from sagascope_collector.client import DEFAULT_URL, Credentials
from sagascope_collector.errors import BadValue, CannotStart
from sagascope_collector.logging_setup import Format, Level
from sagascope_collector.settings import Address

_log = logging.getLogger(__name__)

Followed = TypeVar("Followed", bound=BaseModel)
"""How far a source was followed."""

Every = Annotated[
    float, typer.Option("--every", envvar="SAGASCOPE_EVERY", metavar="SECONDS", min=0.1, help="How often to look.")
]
CursorFile = Annotated[
    Path, typer.Option("--cursor", envvar="SAGASCOPE_CURSOR", metavar="PATH", help="Keeps how far it has come.")
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", envvar="SAGASCOPE_METRICS", metavar="HOST:PORT", help="Serves /metrics of the bridge."),
]
Environment = Annotated[
    str,
    typer.Option(
        "--environment", envvar="SAGASCOPE_ENVIRONMENT", metavar="NAME", help="The environment of what it tells."
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        envvar="SAGASCOPE_NAME",
        metavar="NAME",
        help="The type of the sagas, where neither the global id nor other telemetry says it.",
    ),
]
Dsn = Annotated[
    list[str],
    typer.Option(
        "--dsn",
        envvar="SAGASCOPE_DSN",
        metavar="NAME=DSN",
        help="A database to follow, and the participant that it is. May be given several times. "
        "Let PGPASSFILE or a service file hold the password.",
    ),
]
Gid = Annotated[
    str | None,
    typer.Option(
        "--gid",
        envvar="SAGASCOPE_GID",
        metavar="REGEX",
        help="How global ids read: a group (?P<id>...), and (?P<name>...), (?P<run>...), (?P<participant>...).",
    ),
]

DatabaseDsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        envvar="SAGASCOPE_DSN",
        metavar="DSN",
        help="The database to follow. Let PGPASSFILE or a service file hold the password.",
    ),
]
MappingName = Annotated[
    str,
    typer.Option(
        "--mapping",
        envvar="SAGASCOPE_MAPPING",
        metavar="NAME|FILE",
        help=f"What the columns mean: a file, or one of {', '.join(ready())}.",
    ),
]
History = Annotated[
    bool,
    typer.Option("--history", envvar="SAGASCOPE_HISTORY", help="Tell also what had ended before the first look."),
]

TemporalAddress = Annotated[
    str,
    typer.Option(
        "--address", envvar="TEMPORAL_ADDRESS", metavar="HOST:PORT", help="The server of Temporal, its gRPC port."
    ),
]
Namespaces = Annotated[
    list[str] | None,
    typer.Option(
        "--namespace",
        envvar="TEMPORAL_NAMESPACE",
        metavar="NAME",
        help="A namespace to follow. May be given several times.",
        show_default="default",
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        envvar="SAGASCOPE_TEMPORAL_API_KEY_FILE",
        metavar="PATH",
        exists=True,
        dir_okay=False,
        help="Holds the API key for Temporal; the connection is then secured.",
    ),
]
Secured = Annotated[bool, typer.Option("--tls", envvar="TEMPORAL_TLS", help="Secure the connection to Temporal.")]
Roots = Annotated[
    Path | None,
    typer.Option(
        "--tls-roots",
        metavar="PATH",
        exists=True,
        dir_okay=False,
        help="Whom to trust, in PEM, instead of what this machine trusts.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="PATH", exists=True, dir_okay=False, help="The bridge's own certificate, in PEM (mTLS)."
    ),
]
PrivateKey = Annotated[
    Path | None, typer.Option("--tls-key", metavar="PATH", exists=True, dir_okay=False, help="Its key, in PEM.")
]
Undoes = Annotated[
    list[str] | None,
    typer.Option(
        "--undoes",
        envvar="SAGASCOPE_UNDOES",
        metavar="ACTIVITY=STEP",
        help="An activity that undoes another whose name does not say so. May be given several times.",
    ),
]

bridge = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@bridge.callback()
def _bridges() -> None:
    """Follow a system that does not speak of sagas itself.

    What it knows is told to a collector, beside the telemetry of the services.
    """


@bridge.command("postgres", short_help="Follow prepared transactions of PostgreSQL.")
@with_credentials
def postgres(
    dsn: Dsn,
    credentials: Credentials,
    url: Url = DEFAULT_URL,
    otlp_http: OtlpHttp = None,
    gid: Gid = None,
    name: Name = "",
    environment: Environment = "",
    every: Every = 1.0,
    cursor: CursorFile = Path("sagascope-postgres.cursor"),
    metrics_at: Metrics = None,
) -> None:
    """Follow prepared transactions of PostgreSQL, until Ctrl-C.

    Every participant that is prepared and not decided is in doubt. It only reads: what to run is said beside the saga,
    and is for a person to run.
    """
    databases = [_database(each) for each in dsn]
    if len({each.name for each in databases}) < len(databases):
        raise BadValue("Two databases have one name; each needs its own.")
    to = _Collector(place_of(url, otlp_http, credentials), credentials)
    with Postgres(databases, Gids(gid), environment=environment, saga_name=name) as source:
        _follow("postgres", source, Cursor(cursor, Place), to, every, metrics_at)


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
    every: Every = 1.0,
    cursor: CursorFile = Path("sagascope-sql.cursor"),
    metrics_at: Metrics = None,
) -> None:
    """Follow tables of PostgreSQL that hold the state of sagas, until Ctrl-C.

    A row that has not moved is shown as work that has not ended. It only reads, a bounded number of rows at a time.
    """
    to = _Collector(place_of(url, otlp_http, credentials), credentials)
    with Tables(dsn, read_mapping(mapping), environment=environment, history=history) as source:
        _follow("sql", source, Cursor(cursor, TablesPlace), to, every, metrics_at)


@bridge.command("temporal", short_help="Follow workflows of Temporal.")
@with_credentials
def temporal(
    credentials: Credentials,
    address: TemporalAddress = "127.0.0.1:7233",
    namespace: Namespaces = None,
    api_key_file: ApiKeyFile = None,
    tls: Secured = False,
    tls_roots: Roots = None,
    tls_cert: Certificate = None,
    tls_key: PrivateKey = None,
    undoes: Undoes = None,
    url: Url = DEFAULT_URL,
    otlp_http: OtlpHttp = None,
    environment: Environment = "",
    every: Every = 1.0,
    cursor: CursorFile = Path("sagascope-temporal.cursor"),
    metrics_at: Metrics = None,
) -> None:
    """Follow the open workflows of a server of Temporal, until Ctrl-C.

    A workflow is a saga, its activities are the steps. What only the server knows is told: failed tries and the next,
    task queues without workers, paused activities, timers. It only reads, and needs nothing in the services.
    """
    try:
        from sagascope_collector.bridges.temporal import Place as TemporalPlace
        from sagascope_collector.bridges.temporal import Server, Temporal, Tls
    except ModuleNotFoundError as error:
        raise CannotStart(f'This needs {error.name}. Run: pip install "sagascope[bridges]"') from error

    to = _Collector(place_of(url, otlp_http, credentials), credentials)
    files = [each.read_bytes() if each is not None else None for each in (tls_roots, tls_cert, tls_key)]
    key = api_key_file.read_text().strip() if api_key_file is not None else ""
    secured = Tls(*files) if tls or key or any(files) else None
    with (
        Server(address, api_key=key, tls=secured) as server,
        Temporal(server, namespace or ["default"], environment=environment, undoes=_pairs(undoes or [])) as source,
    ):
        _follow("temporal", source, Cursor(cursor, TemporalPlace), to, every, metrics_at)


@dataclass(frozen=True, slots=True)
class _Collector:
    """Whom a bridge tells."""

    otlp_http: str
    credentials: Credentials


def _follow(
    kind: str, source: Source[Followed], cursor: Cursor[Followed], to: _Collector, every: float, metrics_at: str | None
) -> None:
    logging_setup.configure(Format.TEXT, Level.INFO)
    with (
        Sender(to.otlp_http, to.credentials) as sender,
        Sender(to.otlp_http, to.credentials, patience=0) as hasty,
    ):
        running = Bridge(source, sender, cursor, every=every)
        _log.info("Telling %s what is followed; the place is kept in %s.", to.otlp_http, cursor.path)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: running.stop())
        with metrics.served(running.health, kind, Address.parse(metrics_at) if metrics_at else None):
            running.run(Pulse(running.health, kind, cursor.path, hasty))


def _database(text: str) -> Database:
    name, is_named, dsn = text.partition("=")
    if not is_named or not name or not dsn or "://" in name or " " in name:
        raise BadValue("--dsn is NAME=DSN, for example wallet=postgresql://db-1/wallet.")
    return Database(name, dsn)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(activity and step for activity, _, step in pairs):
        raise BadValue("--undoes is ACTIVITY=STEP, for example refund=charge.")
    return {activity: step for activity, _, step in pairs}
