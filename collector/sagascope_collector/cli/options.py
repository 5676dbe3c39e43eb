"""Options of the commands: the functions that declare them, and those that several commands share."""

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer
from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from sagascope_collector.client import DEFAULT_URL, Client, NotSagascope
from sagascope_collector.client.credentials import FILES, Credentials
from sagascope_collector.errors import CannotStart
from sagascope_collector.safe_text import without_password
from sagascope_collector.saga_filters import FILTERS, SagaFilters

if TYPE_CHECKING:
    from sagascope_collector.lake import Lake
    from sagascope_collector.settings import Option


def flag(name: str, text: str, metavar: str | None = None, **details: Any) -> Any:
    """Returns the option ``--name`` with the environment variable ``SAGASCOPE_NAME``; `details` are Typer's."""
    variable = f"SAGASCOPE_{name.upper().replace('-', '_')}"
    return typer.Option(f"--{name}", help=text, metavar=metavar, **{"envvar": variable} | details)


def setting(name: str) -> Any:
    """Returns the option of one of the collector's settings, for the annotation of a parameter."""
    # imports DuckDB, for which commands that only call the API must not wait
    from sagascope_collector.settings import Settings, variable

    field = Settings.model_fields[name]
    form, option = _option_form(field), name.replace("_", "-")
    return typer.Option(
        f"--{option}/--no-{option}" if field.annotation == bool | None else f"--{option}",
        envvar=variable(name),
        help=field.description,
        metavar=form.metavar,
        show_default=form.show_default,
        min=_limit(field, Ge),
        max=_limit(field, Le),
    )


def setting_parameter(name: str) -> inspect.Parameter:
    """Returns the parameter of a command that takes one of the collector's settings."""
    from sagascope_collector.settings import Settings

    field = Settings.model_fields[name]
    form, default, type_ = _option_form(field), field.get_default(call_default_factory=True), field.annotation
    is_empty = default is None or default in ((), {})
    if form.is_text and default in ((), {}):
        type_ = list[str] | None
    elif form.is_text:
        type_ = str | None if NoneType in get_args(field.annotation) else str
    if form.is_text and not is_empty:
        default = str(default)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if is_empty else form.default or default,
        annotation=Annotated[type_, setting(name)],
    )


def _option_form(field: FieldInfo) -> "Option":
    from sagascope_collector.settings import Option

    return next((each for each in field.metadata if isinstance(each, Option)), Option())


def _limit(field: FieldInfo, kind: type[Ge] | type[Le]) -> Any:
    """Returns the lower or upper limit of a setting's value."""
    return next((getattr(each, kind.__name__.lower()) for each in field.metadata if isinstance(each, kind)), None)


Json = Annotated[bool, flag("json", "Print JSON instead of text.")]
Url = Annotated[str, flag("url", "The collector's API.", "URL")]
OtlpHttp = Annotated[
    str | None,
    flag(
        "otlp-http",
        "Address or URL of the OTLP/HTTP receiver. Default: the one that the collector of --url reports.",
        "HOST:PORT",
    ),
]
StoppedDatabase = Annotated[
    Path | None, flag("db", "The database of a stopped collector.", "PATH", envvar=None, exists=True, dir_okay=False)
]

_CREDENTIALS: Mapping[str, str] = {
    "token_file": "File with the access token; or set SAGASCOPE_TOKEN.",
    "ca_file": "File with the CA that signed the collector's certificate.",
    "client_cert": "File with the client certificate.",
    "client_key": "File with the client certificate's key.",
}

_FILES: Mapping[str, tuple[Any, Any]] = {
    name: (Annotated[Path | None, flag(name.replace("_", "-"), text, "PATH", envvar=FILES[name])], None)
    for name, text in _CREDENTIALS.items()
}
"""The type and default of the option of each credential."""

SWITCHES: Final = frozenset(name for name, field in SagaFilters.model_fields.items() if field.annotation == bool | None)
"""Filters that are true or false."""

Command = Callable[..., None]


def with_client(command: Command) -> Command:
    """Adds ``--url`` and the credential options to a command, which receives a client as its parameter ``client``."""
    options = {"url": (Url, DEFAULT_URL), **_FILES}
    return with_options(command, "client", options, lambda url, **files: Client(url, credentials=_credentials(**files)))


def with_credentials(command: Command) -> Command:
    """Adds the credential options to a command, which receives its parameter ``credentials``."""
    return with_options(command, "credentials", _FILES, lambda **files: nullcontext(_credentials(**files)))


def with_filters(command: Command) -> Command:
    """Adds an option for each filter of a list of sagas to a command, which receives its parameter ``filters``."""
    options = {name: (_filter_option(name), None) for name in FILTERS}
    return with_options(command, "filters", options, lambda **values: nullcontext(_filters(values)))


def _filter_option(name: str) -> Any:
    text = SagaFilters.model_fields[name].description
    if name in SWITCHES:
        return Annotated[bool | None, typer.Option(f"--{name}/--no-{name}", help=text)]
    return Annotated[str | None, typer.Option(f"--{name}", metavar="TEXT", help=text)]


def _filters(values: Mapping[str, Any]) -> SagaFilters:
    try:
        return SagaFilters.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        raise typer.BadParameter(f"--{first['loc'][0]}: {message}") from error


def otlp_http_url(url: str, otlp_http: str | None, credentials: Credentials) -> str:
    """Returns the URL of the OTLP/HTTP receiver: the option's, else the one that the collector's API reports."""
    if otlp_http:
        return otlp_http if "://" in otlp_http else f"http://{otlp_http}"
    with Client(url, credentials=credentials) as client:
        reported = client.otlp_http()
    if reported is None:
        shown = without_password(url)
        raise NotSagascope(shown, f"{shown} does not report its OTLP/HTTP address; set it with --otlp-http.")
    return reported


def _credentials(**files: Path | None) -> Credentials:
    return Credentials.from_environment(os.environ, **files)


def with_options(
    command: Command,
    parameter: str,
    options: Mapping[str, tuple[Any, Any]],
    make: Callable[..., AbstractContextManager[Any]],
) -> Command:
    """Replaces a parameter by options, from whose values `make` creates it."""

    @wraps(command)
    def run(**values: Any) -> None:
        with make(**{name: values.pop(name) for name in options}) as made:
            command(**values, **{parameter: made})

    own = [each for name, each in inspect.signature(command).parameters.items() if name != parameter]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in options.items()
    ]
    # Typer derives the options from the signature
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    return run


def lake_of(catalog: str | None, data: str | None, s3_endpoint: str | None, memory_bytes: int | None = None) -> "Lake":
    """Returns the lake at an address, which was not connected to yet.

    Raises:
        CannotStart: a package or a part of the address is missing.
    """
    if not (catalog and data):
        raise CannotStart("A lake needs --lake postgresql://... and --lake-data with a folder or s3://BUCKET/PREFIX.")
    try:
        from sagascope_collector.lake import Lake
    except ModuleNotFoundError as error:
        raise CannotStart(
            f'--lake needs the package {error.name}. Install it with: pip install "sagascope[lake]"'
        ) from error
    lake = Lake(catalog, data, s3_endpoint or "")
    return replace(lake, memory_bytes=memory_bytes) if memory_bytes else lake
