"""The options of `sagascope serve`, and what it prints."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from sagascope_collector.settings import Address, Settings, step_timeouts

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
        )
        run(settings, lambda addresses: _announce(settings.db, addresses))

    return serve


def _announce(db: str, addresses: Mapping[str, str]) -> None:
    typer.echo(f"Sagascope is listening; its database is {db}. Ctrl-C stops it.")
    typer.echo(f"  OTLP over gRPC  {addresses['otlp_grpc']}")
    typer.echo(f"  OTLP over HTTP  http://{addresses['otlp_http']}")
    typer.echo(f"  HTTP API        http://{addresses['api']}")
