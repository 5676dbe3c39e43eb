"""The ``sagascope`` command.

Only what the chosen command needs is imported, so that ``--help`` is quick and a missing extra is named.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, NamedTuple

if TYPE_CHECKING:
    import typer

INSTALL = 'pip install "sagascope[all]"'
"""What brings every command."""


class Command(NamedTuple):
    """Where a command is written, and its line in the list of commands."""

    module: str
    summary: str
    function: str = ""
    """Its name there, where that is not the command's."""


COMMANDS = {
    "serve": Command("sagascope_collector.app", "Run the collector until Ctrl-C."),
    "dashboard": Command("sagascope_collector.cli.launch", "Open the dashboard of a collector."),
    "demo": Command("sagascope_collector.cli.launch", "Play a story with stuck payments on this machine."),
    "import": Command("sagascope_collector.cli.archives", "Send files of telemetry to a collector.", "import_files"),
    "export": Command(
        "sagascope_collector.cli.archives",
        "Export the telemetry of one transaction or, with --parquet, all telemetry.",
    ),
    "backup": Command("sagascope_collector.cli.backup", "Write all that is stored to one file."),
    "restore": Command("sagascope_collector.cli.backup", "Put a backup back as a database."),
    "find": Command("sagascope_collector.cli.sagas", "Find transactions by what somebody quoted."),
    "show": Command("sagascope_collector.cli.sagas", "Show where one transaction stands, since when and why."),
    "triage": Command("sagascope_collector.cli.sagas", "List what needs attention now, worst first."),
    "sql": Command("sagascope_collector.cli.sql", "Query spans, log records and transactions with SQL."),
    "watch": Command("sagascope_collector.cli.watch", "Watch what needs attention, until Ctrl-C."),
    "incident": Command(
        "sagascope_collector.cli.incidents", "Show one incident, acknowledge it, end it, or leave a note."
    ),
    "doctor": Command("sagascope_collector.cli.doctor", "Check a collector and the path of telemetry into it."),
    "rebuild": Command("sagascope_collector.rebuild", "Make every summary anew from what was received."),
    "forget": Command("sagascope_collector.forget", "Remove transactions so that nothing of them is left."),
    "conformance": Command("sagascope_collector.cli.conformance", "Check an emitter's telemetry against the contract."),
    "bridge": Command("sagascope_collector.cli.bridge", "Follow another system and report its state to a collector."),
    "alerts": Command("sagascope_collector.cli.alerts", "Check or test a file of receivers and rules."),
}
"""Every command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; see `cli.exits`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes lines of its own form past every log
    try:
        chosen = next((each for each in given if not each.startswith("-")), None)
        build([chosen] if chosen in COMMANDS else [])(given, prog_name="sagascope")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("sagascope"):
            raise
        sys.exit(_say(f"This needs the package {error.name}, which is not installed. Install it with:\n  {INSTALL}"))
    except Exception as error:
        from sagascope_collector.cli import exit_codes

        status = exit_codes.status_of(error)
        if status is None:
            raise
        sys.exit(_say(exit_codes.sentence(error), status))


def build(loaded: Sequence[str]) -> "typer.Typer":
    """The command line, with these commands loaded and the others only listed."""
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
            bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say which version.")
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


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"sagascope {version('sagascope')}")  # noqa: T201
        sys.exit(0)


def _listed() -> None:
    """A command that is not the chosen one."""


def _say(sentence: str, status: int = 2) -> int:
    print(f"sagascope: {sentence}", file=sys.stderr)  # noqa: T201
    return status


if __name__ == "__main__":
    main()
