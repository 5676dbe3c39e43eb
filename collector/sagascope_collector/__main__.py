"""The ``sagascope`` command.

It imports only the selected command, so that ``--help`` is fast and an error names a missing extra.
"""

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, NamedTuple

from sagascope_collector.errors import INSTALL

if TYPE_CHECKING:
    import typer


class Command(NamedTuple):
    """The module of a command, and its line in the list of commands."""

    module: str
    summary: str
    function: str = ""
    """The function's name, if it is not the command's."""


COMMANDS = {
    "serve": Command("sagascope_collector.app", "Run the collector until Ctrl-C."),
    "receive": Command("sagascope_collector.receive", "Receive telemetry into a lake until Ctrl-C."),
    "dashboard": Command("sagascope_collector.cli.launch", "Open the dashboard of a collector."),
    "demo": Command("sagascope_collector.cli.launch", "Run a demo with stuck payments on this machine."),
    "import": Command("sagascope_collector.cli.archives", "Send files of telemetry to a collector.", "import_files"),
    "export": Command(
        "sagascope_collector.cli.archives", "Export the telemetry of one transaction or, with --parquet, all telemetry."
    ),
    "backup": Command("sagascope_collector.cli.database", "Write a backup of the whole database to one file."),
    "restore": Command("sagascope_collector.cli.database", "Create a database from a backup."),
    "find": Command(
        "sagascope_collector.cli.sagas", "Find transactions by an id, a business key, a trace, or words of an error."
    ),
    "show": Command("sagascope_collector.cli.sagas", "Show the state of one transaction and its diagnosis."),
    "triage": Command("sagascope_collector.cli.sagas", "List what needs attention now, worst first."),
    "sql": Command("sagascope_collector.cli.sagas", "Query spans, log records and transactions with SQL."),
    "watch": Command("sagascope_collector.cli.incidents", "Watch what needs attention until Ctrl-C."),
    "incident": Command("sagascope_collector.cli.incidents", "Show, acknowledge, resolve or annotate an incident."),
    "doctor": Command("sagascope_collector.cli.checks", "Check a collector and the path of telemetry into it."),
    "migrate": Command("sagascope_collector.cli.database", "Move the records of a database file into a lake."),
    "rebuild": Command("sagascope_collector.cli.database", "Recompute all summaries from the stored records."),
    "mapping": Command("sagascope_collector.cli.database", "Suggest rules for spans that belong to no transaction."),
    "remap": Command("sagascope_collector.cli.database", "Apply the mapping file to everything that is stored."),
    "forget": Command("sagascope_collector.cli.database", "Erase all data of transactions with a business key."),
    "conformance": Command("sagascope_collector.cli.checks", "Check an emitter's telemetry against the contract."),
    "bridge": Command("sagascope_collector.cli.bridge", "Follow another system and report its state to a collector."),
    "alerts": Command("sagascope_collector.cli.checks", "Check or test a file of receivers and rules."),
}
"""All commands."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with a code of `cli.terminal`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core writes to standard error, bypassing the log
    try:
        chosen = next((each for each in words if not each.startswith("-")), None)
        gc.disable()  # collection during imports takes a tenth of their time, and finds nothing
        try:
            command = build([chosen] if chosen in COMMANDS else [])
        finally:
            gc.enable()
        command(words, prog_name="sagascope")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("sagascope"):
            raise
        sys.exit(
            _print_error(f"This needs the package {error.name}, which is not installed. Install it with:\n  {INSTALL}")
        )
    except Exception as error:
        from sagascope_collector.cli import terminal

        status = terminal.status_of(error)
        if status is None:
            raise
        sys.exit(_print_error(terminal.sentence(error), status))


def build(loaded: Sequence[str]) -> "typer.Typer":
    """Returns the command line, with these commands loaded and the others listed only."""
    import typer

    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        _: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
        ] = False,
    ) -> None:
        """Why is this transaction stuck?"""

    for name, command in COMMANDS.items():
        module = import_module(command.module) if name in loaded else None
        function = getattr(module, command.function or name) if module else _listed
        if isinstance(function, typer.Typer):
            app.add_typer(function, name=name, short_help=command.summary)
        else:
            app.command(name, short_help=command.summary)(function)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sagascope {version('sagascope')}")  # noqa: T201
        sys.exit(0)


def _listed() -> None:
    """Represents a command that is not selected."""


def _print_error(message: str, status: int = 2) -> int:
    print(f"sagascope: {message}", file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    main()
