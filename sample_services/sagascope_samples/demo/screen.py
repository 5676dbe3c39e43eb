"""What a person sees of the demo in the terminal."""

import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sagascope_samples.demo.addresses import LISTENERS, Addresses
from sagascope_samples.demo.report import Report, Verdict
from sagascope_samples.demo.scene import Planted
from sagascope_samples.story import SAGA


class Screen:
    """Writes for a person: to standard error when standard output is for a machine."""

    def __init__(self, *, json: bool) -> None:
        self._console = Console(stderr=json, highlight=False)

    def say(self, text: str, style: str | None = None) -> None:
        """Write lines as they are, however wide."""
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    def progress(self) -> Progress:
        """A line for each part, with what it does and since when."""
        columns = SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn()
        return Progress(*columns, console=self._console)

    def where_to_look(self, first: str, addresses: Addresses, folder: Path) -> None:
        """Say where the answers are, of this payment first."""
        url = addresses.dashboard.url
        usual = addresses.api == LISTENERS["api"].default
        show = f"{_command()} show {first}" + ("" if usual else f" --url {addresses.api.url}")
        self.say("")
        self.say(f"{first} gets stuck in a few seconds. Open {url} and type {first}, or go straight there:", "bold")
        self.say(f"  {url}/saga?name={SAGA}&id={first}")
        self.say("Or ask in another terminal:", "bold")
        self.say(f"  {show}")
        self.say(
            f"The collector's API is at {addresses.api.url}/api/v1, every log in {folder}. Ctrl-C stops everything."
        )
        self.say("")

    def planted(self, plant: Planted) -> None:
        """Say that a fault was planted."""
        self.say(f"planted  #{plant.payment}  {plant.told}")

    def found(self, verdict: Verdict) -> None:
        """Say that a planted fault was found."""
        self.say(f"found    #{verdict.plant.payment}  {verdict.headline}", "green")

    def stopping(self) -> None:
        """Say that everything is being stopped, below the ^C that a terminal writes."""
        self.say("\nStopping everything.")

    def report(self, report: Report) -> None:
        """Say what was found of the whole story."""
        table = Table("payment", "planted", "found", "")
        for verdict in report.verdicts:
            said = escape(verdict.headline or "nothing")
            table.add_row(verdict.plant.payment, verdict.plant.told, said, "[green]✓" if verdict.ok else "[red]✗")
        self._console.print(table)
        self.doubts(report)

    def doubts(self, report: Report) -> None:
        """Say what the report's faults do not: what is wrong with payments that have none."""
        if report.flagged:
            self.say(f"Said to need attention, without a fault: {', '.join(report.flagged)}", "red")
        if report.unfinished:
            self.say(f"Not completed, without a fault: {', '.join(report.unfinished)}", "red")


def _command() -> str:
    """How this installation's command is called from where the user stands."""
    beside = Path(sys.executable).with_name("sagascope")
    if shutil.which("sagascope") or not beside.exists():
        return "sagascope"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)
