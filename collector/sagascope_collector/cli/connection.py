"""The options with which a command reaches a collector."""

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from sagascope_collector.client import DEFAULT_URL, Client
from sagascope_collector.client.credentials import FILES, Credentials

Url = Annotated[str, typer.Option("--url", envvar="SAGASCOPE_URL", metavar="URL", help="The collector's API.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar=FILES["token_file"],
        metavar="PATH",
        help="Holds the token that the collector asks for; or set SAGASCOPE_TOKEN.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", envvar=FILES["ca_file"], metavar="PATH", help="Who signs the collector's certificate."),
]
ClientCert = Annotated[
    Path | None,
    typer.Option("--client-cert", envvar=FILES["client_cert"], metavar="PATH", help="A certificate of your own."),
]
ClientKey = Annotated[
    Path | None, typer.Option("--client-key", envvar=FILES["client_key"], metavar="PATH", help="Its private key.")
]

_FILES: Mapping[str, tuple[Any, Any]] = {
    "token_file": (TokenFile, None),
    "ca_file": (CaFile, None),
    "client_cert": (ClientCert, None),
    "client_key": (ClientKey, None),
}
"""Type and default of each option."""

Command = Callable[..., None]


def with_client(command: Command) -> Command:
    """Give a command ``--url`` and the options for credentials; it gets an open client as its parameter ``client``."""
    return _given(command, "client", {"url": (Url, DEFAULT_URL), **_FILES}, _client)


def with_credentials(command: Command) -> Command:
    """Give a command the options for credentials; it gets them as its parameter ``credentials``."""
    return _given(command, "credentials", _FILES, lambda **files: nullcontext(_credentials(**files)))


def _client(url: str, **files: Path | None) -> Client:
    return Client(url, credentials=_credentials(**files))


def _credentials(**files: Path | None) -> Credentials:
    return Credentials.from_environment(os.environ, **files)


def _given(
    command: Command,
    parameter: str,
    options: Mapping[str, tuple[Any, Any]],
    make: Callable[..., AbstractContextManager[Any]],
) -> Command:
    """The command with `options` in place of a parameter, whose value `make` makes of them."""

    @wraps(command)
    def run(**values: Any) -> None:
        with make(**{name: values.pop(name) for name in options}) as made:
            command(**values, **{parameter: made})

    own = [each for name, each in inspect.signature(command).parameters.items() if name != parameter]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in options.items()
    ]
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return run
