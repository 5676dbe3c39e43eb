"""The commands that start programs: `serve` and `receive` in this process, `dashboard` and `demo` in its place.

Programs of other packages are started as modules and never imported, so that the collector does not depend on them.
"""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sagascope_collector.cli.options import Command, flag, setting_parameter, with_credentials, with_options
from sagascope_collector.client import DEFAULT_URL, Client, Credentials
from sagascope_collector.errors import INSTALL, CannotStart

if TYPE_CHECKING:
    from sagascope_collector.settings import Settings

Announce = Callable[[Mapping[str, str]], None]
"""Called once, when all ports listen, with their addresses by name."""

DASHBOARD_NEEDS = ("streamlit",)
DEMO_NEEDS = ("opentelemetry.sdk", "starlette", "uvicorn", "httpx", "rich", "duckdb", "fastapi", "grpc")


def serve_command(
    run: "Callable[[Settings, Announce], None]", summary: str, names: Sequence[str] | None = None
) -> Command:
    """Returns a command that serves until the process is stopped.

    Args:
        run: serves; called with the settings and with what announces the addresses.
        summary: the first line of the command's help.
        names: the settings that the command has options for; None: all.
    """
    from sagascope_collector.settings import Settings

    def serve(**values: Any) -> None:
        settings = Settings.model_validate({name: value for name, value in values.items() if value is not None})
        run(settings, lambda addresses: _announce(settings, addresses))

    serve.__doc__ = f"{summary}\n\nPort 0 selects any free port; the addresses are printed."
    parameters = [setting_parameter(name) for name in names or Settings.model_fields]
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return serve


def _announce(settings: "Settings", addresses: Mapping[str, str]) -> None:
    place = "its records are in the lake" if settings.lake else f"its database is {settings.db}"
    typer.echo(f"Sagascope is listening; {place}. Ctrl-C stops it.")
    typer.echo(f"  OTLP over gRPC  {addresses['otlp_grpc']}")
    typer.echo(f"  OTLP over HTTP  http://{addresses['otlp_http']}")
    typer.echo(f"  HTTP API        http://{addresses['api']}")


_DEMO_OPTIONS: Mapping[str, tuple[str, str | None]] = {
    "engine": (
        "Transport or engine of the services instead of HTTP: dbos, nats, temporal, or plain opentelemetry.",
        None,
    ),
    "folder": ("Folder for logs and databases. Default: .demo.", None),
    "otlp_grpc": ("The collector's OTLP/gRPC.", "HOST:PORT"),
    "otlp_http": ("The collector's OTLP/HTTP.", "HOST:PORT"),
    "api": ("The collector's HTTP API.", "HOST:PORT"),
    "dashboard": ("The dashboard.", "HOST:PORT"),
    "services": ("The first of six ports in a row.", "HOST:PORT"),
}
"""Options that are passed on as they are: the help text and the metavar of each."""


def _with_demo_options(command: Command) -> Command:
    options = {
        name: (Annotated[str | None, flag(name.replace("_", "-"), *details)], None)
        for name, details in _DEMO_OPTIONS.items()
    }
    return with_options(command, "given", options, lambda **values: nullcontext(values))


@_with_demo_options
def demo(
    context: typer.Context,
    given: Mapping[str, str | None],
    headless: Annotated[bool, flag("headless", "Run without a browser, and exit.")] = False,
    json: Annotated[bool, flag("json", "With --headless: print only one JSON report.")] = False,
) -> None:
    """Run a demo with stuck payments on this machine.

    Starts a collector, a dashboard and six sample services, sends payments through them, injects faults, and prints
    where to see them. Ctrl-C stops everything. Port 0 selects any free port; it is the default with --headless.

    With --headless the exit status is 0 only if every injected fault was found, with its cause.
    """
    options = {f"--{name.replace('_', '-')}": value for name, value in given.items() if value is not None}
    words = [word for pair in options.items() for word in pair]
    asked = json and (headless or _is_given(context, "json"))
    flags = [flag for flag, wanted in (("--headless", headless), ("--json", asked)) if wanted]
    _exec("sagascope_samples", [*flags, *words], DEMO_NEEDS if headless else (*DEMO_NEEDS, *DASHBOARD_NEEDS))


@with_credentials
def dashboard(
    credentials: Credentials,
    address: Annotated[str, flag("address", "Address of the dashboard.", "HOST:PORT")] = "127.0.0.1:8501",
    url: Annotated[str, flag("url", "The collector's API.")] = DEFAULT_URL,
    link: Annotated[
        list[str] | None,
        flag(
            "link",
            "Link to another tool for a transaction, such as Jaeger=https://jaeger.example.com/trace/{trace_id}.",
            "NAME=URL",
            envvar="SAGASCOPE_LINKS",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        flag(
            "allowed-host",
            "Name by which the dashboard may be called, beside localhost, IP addresses and its own address.",
            "NAME",
        ),
    ] = None,
) -> None:
    """Open the dashboard of a collector."""
    with Client(url, credentials=credentials):
        pass  # a wrong URL or file is an error of this command, not of each page
    os.environ.update(credentials.environment())
    lists = {"--link": link or (), "--allowed-host": allowed_host or ()}
    words = [word for option, values in lists.items() for value in values for word in (option, value)]
    _exec("sagascope_dashboard", ["--address", address, "--url", url, *words], DASHBOARD_NEEDS)


def _is_given(context: typer.Context, option: str) -> bool:
    """Returns whether an option is on the command line, not only in a variable that also serves other commands."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _exec(module: str, words: Sequence[str], needs: Sequence[str]) -> NoReturn:
    """Replaces this process by another program of this installation.

    Raises:
        CannotStart: a package that it needs is not installed.
    """
    if missing := [package for package in (module, *needs) if not _is_installed(package)]:
        raise CannotStart(f"This command needs {', '.join(missing)}. Run: {INSTALL}")
    command = [sys.executable, "-m", module, *words]
    if os.name == "posix":
        os.execv(sys.executable, command)  # noqa: S606  a fixed program; signals reach it directly
    sys.exit(subprocess.call(command))


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
