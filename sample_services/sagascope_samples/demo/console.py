"""The output of the demo in the terminal."""

import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sagascope_samples.demo.addresses import LISTENERS, Addresses
from sagascope_samples.demo.report import PlantedFault, Report, Result
from sagascope_samples.scenario import SAGA


class DemoConsole:
    """Writes for a person: to standard error if standard output is for JSON."""

    def __init__(self, *, json: bool) -> None:
        self._console = Console(stderr=json, highlight=False)

    def write(self, text: str, style: str | None = None) -> None:
        """Writes lines without wrapping them."""
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    def progress(self) -> Progress:
        """Returns a progress display with one line per process."""
        columns = SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn()
        return Progress(*columns, console=self._console)

    def write_instructions(self, payment: str, addresses: Addresses, folder: Path) -> None:
        """Writes where to look, for example at this payment."""
        url = addresses.dashboard.url
        is_default = addresses.api == LISTENERS["api"].default
        command = f"{_command()} show {payment}" + ("" if is_default else f" --url {addresses.api.url}")
        self.write("")
        self.write(
            f"Payment {payment} gets stuck in a few seconds. Open {url} and search for {payment}, or open", "bold"
        )
        self.write(f"  {url}/saga?name={SAGA}&id={payment}")
        self.write("Or run in another terminal:", "bold")
        self.write(f"  {command}")
        self.write(
            f"The collector's API is at {addresses.api.url}/api/v1, all logs are in {folder}. Press Ctrl-C to stop."
        )
        self.write("")

    def write_planted(self, planted: PlantedFault) -> None:
        """Writes that a fault was planted."""
        self.write(f"planted  #{planted.payment}  {planted.description}")

    def write_found(self, result: Result) -> None:
        """Writes that a planted fault was found."""
        self.write(f"found    #{result.planted.payment}  {result.headline}", "green")

    def write_stopping(self) -> None:
        """Writes that the processes are being stopped, below the ^C of the terminal."""
        self.write("\nStopping all processes.")

    def write_report(self, report: Report) -> None:
        """Writes what the collector found in the whole scenario."""
        table = Table("payment", "planted", "found", "")
        for result in report.results:
            headline = escape(result.headline or "nothing")
            mark = "[green]✓" if result.ok else "[red]✗"
            table.add_row(result.planted.payment, result.planted.description, headline, mark)
        self._console.print(table)
        self.write_problems(report)

    def write_problems(self, report: Report) -> None:
        """Writes what is wrong with payments without a fault."""
        if report.false_alarms:
            self.write(f"Reported as needing attention, without a fault: {', '.join(report.false_alarms)}", "red")
        if report.unfinished:
            self.write(f"Not completed, without a fault: {', '.join(report.unfinished)}", "red")


def _command() -> str:
    """Returns the path of the `sagascope` command, relative to the current folder where possible."""
    installed = Path(sys.executable).with_name("sagascope")
    if shutil.which("sagascope") or not installed.exists():
        return "sagascope"
    current = Path.cwd()
    return str(installed.relative_to(current) if installed.is_relative_to(current) else installed)
