"""The command `serve`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import typer

from sagascope_collector.cli.options import parse_settings, settings_parameters
from sagascope_collector.settings import Settings

Announce = Callable[[Mapping[str, str]], None]
"""Called once, when all ports listen, with their addresses by name."""

Run = Callable[[Settings, Announce], None]


def command(run: Run) -> Callable[..., None]:
    """Returns the command; `run` serves until the process is told to stop."""

    def serve(**values: Any) -> None:
        """Run the collector until Ctrl-C.

        Port 0 selects any free port; the addresses are printed.
        """
        settings = parse_settings(values)
        run(settings, lambda addresses: _announce(settings.db, addresses))

    serve.__signature__ = inspect.Signature(settings_parameters())  # type: ignore[attr-defined]
    return serve


def _announce(db: str, addresses: Mapping[str, str]) -> None:
    typer.echo(f"Sagascope is listening; its database is {db}. Ctrl-C stops it.")
    typer.echo(f"  OTLP over gRPC  {addresses['otlp_grpc']}")
    typer.echo(f"  OTLP over HTTP  http://{addresses['otlp_http']}")
    typer.echo(f"  HTTP API        http://{addresses['api']}")
