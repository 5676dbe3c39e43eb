"""The command `serve`, and the options of all commands that are derived from the collector's settings."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, get_args

import typer
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from sagascope_collector.settings import Option, Settings, variable

Announce = Callable[[Mapping[str, str]], None]
"""Called once, when all ports listen, with their addresses by name."""

Run = Callable[[Settings, Announce], None]


def command(run: Run, summary: str, names: Sequence[str] = tuple(Settings.model_fields)) -> Callable[..., None]:
    """Returns the command; `run` serves until the process is told to stop.

    Args:
        run: the function.
        summary: the first line of the command's help.
        names: the settings that it has options for.
    """

    def serve(**values: Any) -> None:
        given = {name: value for name, value in values.items() if value is not None}
        settings = Settings.model_validate(given)
        run(settings, lambda addresses: _announce(settings, addresses))

    serve.__doc__ = f"{summary}\n\nPort 0 selects any free port; the addresses are printed."
    serve.__signature__ = inspect.Signature(_parameters(names))  # type: ignore[attr-defined]
    return serve


def _announce(settings: Settings, addresses: Mapping[str, str]) -> None:
    place = "its records are in the lake" if settings.lake else f"its database is {settings.db}"
    typer.echo(f"Sagascope is listening; {place}. Ctrl-C stops it.")
    typer.echo(f"  OTLP over gRPC  {addresses['otlp_grpc']}")
    typer.echo(f"  OTLP over HTTP  http://{addresses['otlp_http']}")
    typer.echo(f"  HTTP API        http://{addresses['api']}")


def option(name: str) -> Any:
    """Returns the option of a setting, for the annotation of a parameter."""
    field = Settings.model_fields[name]
    form = _form(field)
    flag = name.replace("_", "-")
    is_switch = field.annotation == bool | None
    return typer.Option(
        f"--{flag}/--no-{flag}" if is_switch else f"--{flag}",
        envvar=variable(name),
        help=field.description,
        metavar=form.metavar,
        show_default=form.show_default,
        min=_limit(field, Ge),
        max=_limit(field, Le),
    )


def _parameters(names: Sequence[str]) -> list[inspect.Parameter]:
    """Returns a parameter for each setting, in the order of their declaration."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=Annotated[_option_type(field), option(name)],
        )
        for name in names
        for field in [Settings.model_fields[name]]
    ]


def _limit(field: FieldInfo, kind: type[Ge] | type[Le]) -> Any:
    """Returns the lower or upper limit of a setting's value."""
    return next((getattr(each, kind.__name__.lower()) for each in field.metadata if isinstance(each, kind)), None)


def _form(field: FieldInfo) -> Option:
    return next((each for each in field.metadata if isinstance(each, Option)), Option())


def _default(field: FieldInfo) -> Any:
    form, default = _form(field), field.get_default(call_default_factory=True)
    if default is None or default in ((), {}):
        return None
    return form.default or (str(default) if form.is_text else default)


def _option_type(field: FieldInfo) -> Any:
    """Returns the type for the command-line parser: a text, or the setting's own type."""
    if not _form(field).is_text:
        return field.annotation
    if field.get_default(call_default_factory=True) in ((), {}):
        return list[str] | None
    return str | None if NoneType in get_args(field.annotation) else str
