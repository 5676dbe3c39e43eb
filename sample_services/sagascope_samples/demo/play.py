"""The demo as a whole: the only place that puts its pieces together."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from sagascope_samples.demo import parts
from sagascope_samples.demo.addresses import Address, Addresses
from sagascope_samples.demo.folder import USUAL, kept_folder, passing_folder
from sagascope_samples.demo.inspection import Inspector
from sagascope_samples.demo.report import Report, inspect, unknown, verdict_on
from sagascope_samples.demo.scene import NoProgress, Player, Scene
from sagascope_samples.demo.screen import Screen
from sagascope_samples.demo.stages import plants_of, set_up
from sagascope_samples.demo.supervisor import LOOK, Part, PartDied, PartNotReady, Supervisor

HEADLESS_SECONDS: Final = 80.0
"""From the start; after this the report says how far it came."""

POLL: Final = 0.5
"""Seconds between two questions to the collector."""

Result = TypeVar("Result")


class NotFound(Exception):
    """The collector did not find what was planted, or found what was not."""

    def __init__(self, report: Report) -> None:
        super().__init__("Not everything is as it was planted.")
        self.report = report


@dataclass(frozen=True, slots=True)
class Options:
    """How the demo is to run."""

    headless: bool = False
    json: bool = False
    folder: Path | None = None
    addresses: Mapping[str, Address] = field(default_factory=dict)
    engine: str | None = None
    """What the services run on; None: HTTP, and an orchestrator."""


async def play(options: Options) -> int:
    """Play the story; return the exit status: 0, or 1 if a part died or a planted fault was not found.

    Raises:
        CannotStart: a port or the folder is taken, or a package is missing.
        CancelledError: a signal came. Whatever is raised, no process is left.
    """
    _stop_at_signals()
    screen = Screen(json=options.json)
    try:
        with _folder(options) as folder:
            report = await _run(options, screen, folder)
    except NotFound as failure:
        return _hand_in(failure.report, options, screen)
    except (PartDied, PartNotReady, NoProgress, httpx.HTTPError) as error:
        screen.say(str(error), "red")
        return _hand_in(unknown(plants_of(options.engine)), options, screen) if options.json else 1
    return 0 if report is None else _hand_in(report, options, screen)


async def _run(options: Options, screen: Screen, folder: Path) -> Report | None:
    """Start everything, play, and stop everything. A report is made where nobody watches."""
    deadline = asyncio.get_running_loop().time() + HEADLESS_SECONDS
    addresses = Addresses.choose(options.addresses, free=options.headless)
    scene = set_up(options.engine, addresses, folder)
    others = [parts.collector(addresses, folder, scene.collector)] + (
        [] if options.headless else [parts.dashboard(addresses)]
    )
    async with Supervisor(folder) as supervisor, Inspector(addresses.api.url) as inspector:
        try:
            await _start([*others, *scene.services], supervisor, screen)
            player = scene.player(supervisor, inspector, screen.planted)
            if options.headless:
                return await _perform(supervisor, _prove(scene, player, inspector, deadline))
            screen.where_to_look(scene.plants[0].payment, addresses, folder)
            return await _perform(supervisor, player.play(), _tell_what_is_found(scene, inspector, screen))
        except asyncio.CancelledError:
            screen.stopping()
            raise


def _hand_in(report: Report, options: Options, screen: Screen) -> int:
    """Write the report for a machine, on standard output, or for a person; return the exit status."""
    if options.json:
        sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")
        screen.doubts(report)
    else:
        screen.report(report)
    return 0 if report.ok else 1


async def _start(everything: Sequence[Part], supervisor: Supervisor, screen: Screen) -> None:
    with screen.progress() as progress:
        lines = {part.name: progress.add_task(f"{part.name} starts", total=1) for part in everything}
        for part in everything:
            supervisor.start(part)
        for part in everything:
            await supervisor.ready(part)
            progress.update(lines[part.name], completed=1, description=f"{part.name} is ready")


async def _prove(scene: Scene, player: Player, inspector: Inspector, deadline: float) -> Report:
    """Play as much of the story as is needed, and wait until everything is found, or the time is up."""
    try:
        async with asyncio.timeout_at(deadline):
            await player.play(scene.payments)
            while not (report := await inspect(inspector, scene.plants, player.sent)).ok:
                await asyncio.sleep(POLL)
    except TimeoutError:
        report = await inspect(inspector, scene.plants, player.sent)
        if not report.ok:
            raise NotFound(report) from None
    return report


async def _tell_what_is_found(scene: Scene, inspector: Inspector, screen: Screen) -> None:
    """Say of each planted fault when it is found."""
    missing = list(scene.plants)
    while missing:
        for verdict in [await verdict_on(inspector, plant) for plant in missing]:
            if verdict.ok:
                missing.remove(verdict.plant)
                screen.found(verdict)
        await asyncio.sleep(POLL)


async def _perform(
    supervisor: Supervisor, main: Coroutine[Any, Any, Result], *beside: Coroutine[Any, Any, None]
) -> Result:
    """Run `main` to its end unless something beside it fails, or a part dies."""
    leading = asyncio.create_task(main)
    tasks: list[asyncio.Task[Any]] = [
        leading,
        asyncio.create_task(supervisor.watch()),
        *map(asyncio.create_task, beside),
    ]
    try:
        while not leading.done():
            running = [task for task in tasks if not task.done()]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return leading.result()
    except httpx.TransportError:
        await asyncio.sleep(2 * LOOK)
        supervisor.check()
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _folder(options: Options) -> AbstractContextManager[Path]:
    if options.folder is None and options.headless:
        return passing_folder()
    return kept_folder(options.folder or USUAL)


def _stop_at_signals() -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal end the demo in order."""
    if (task := asyncio.current_task()) is None:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
