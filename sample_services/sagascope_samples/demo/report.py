"""What the collector found of the planted faults, and the output of the demo in the terminal."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sagascope_samples.demo.addresses import LISTENERS, Addresses
from sagascope_samples.demo.scenario import SAGA, Finding, Inspector, PlantedFault


@dataclass(frozen=True, slots=True)
class Result:
    """What the collector found of one planted fault; `found` is None if it does not know the payment."""

    planted: PlantedFault
    found: Finding | None
    headline: str = ""

    @property
    def ok(self) -> bool:
        """Whether the fault was found, with its cause."""
        return self.found == self.planted.expected and self.planted.headline in self.headline


@dataclass(frozen=True, slots=True)
class Report:
    """What the collector found in the whole scenario."""

    results: Sequence[Result]
    false_alarms: Sequence[str] = ()
    """Payments without a fault that need attention according to the collector."""
    unfinished: Sequence[str] = ()
    """Payments without a fault that have not completed."""

    @property
    def ok(self) -> bool:
        """Whether all planted faults were found, and nothing else."""
        return all(result.ok for result in self.results) and not self.false_alarms and not self.unfinished

    def document(self) -> dict[str, Any]:
        """Returns the report as JSON."""
        return {"ok": self.ok, "faults": [_fault(result) for result in self.results]}


def empty_report(planted_faults: Iterable[PlantedFault]) -> Report:
    """Returns the report of a run in which the collector could not be queried."""
    return Report([Result(planted, None) for planted in planted_faults])


async def create_report(inspector: Inspector, planted_faults: Sequence[PlantedFault], sent: Iterable[str]) -> Report:
    """Queries the collector and returns the current report."""
    healthy = set(sent) - {planted.payment for planted in planted_faults}
    return Report(
        [await result_of(inspector, planted) for planted in planted_faults],
        sorted(await inspector.ids(attention="any") & healthy),
        sorted(healthy - await inspector.ids(status="completed")),
    )


async def result_of(inspector: Inspector, planted: PlantedFault) -> Result:
    """Queries the collector about one planted fault."""
    saga = await inspector.saga(planted.payment)
    if saga is None:
        return Result(planted, None)
    found = Finding(saga["status"], saga["attention"], saga["phase"], saga["step"], saga["service"])
    return Result(planted, found, saga["headline"])


def _fault(result: Result) -> dict[str, Any]:
    planted = {"description": result.planted.description, **asdict(result.planted.expected)}
    found = result.found and {**asdict(result.found), "headline": result.headline}
    return {"id": result.planted.payment, "planted": planted, "found": found, "ok": result.ok}


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
