"""Whether every planted fault was found, and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sagascope_samples.demo.inspection import Inspector, finding_in
from sagascope_samples.demo.scene import Planted
from sagascope_samples.story import Finding


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the collector says of one planted fault; None: it has not heard of the payment."""

    plant: Planted
    found: Finding | None
    headline: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was found, with its cause."""
        return self.found == self.plant.expected and self.plant.says in self.headline


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of the whole story."""

    verdicts: Sequence[Verdict]
    flagged: Sequence[str] = ()
    """Payments without a fault that are said to need attention."""
    unfinished: Sequence[str] = ()
    """Payments without a fault that are not completed."""

    @property
    def ok(self) -> bool:
        """Whether every planted fault was found, and only those."""
        return all(verdict.ok for verdict in self.verdicts) and not self.flagged and not self.unfinished

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {"ok": self.ok, "faults": [_fault(verdict) for verdict in self.verdicts]}


def unknown(plants: Iterable[Planted]) -> Report:
    """Nothing was found, because nothing could be asked."""
    return Report([Verdict(plant, None) for plant in plants])


async def inspect(inspector: Inspector, plants: Sequence[Planted], sent: Iterable[str]) -> Report:
    """Ask the collector how things stand now."""
    healthy = set(sent) - {plant.payment for plant in plants}
    return Report(
        [await verdict_on(inspector, plant) for plant in plants],
        sorted(await inspector.ids(attention="any") & healthy),
        sorted(healthy - await inspector.ids(status="completed")),
    )


async def verdict_on(inspector: Inspector, plant: Planted) -> Verdict:
    """Ask the collector about one planted fault."""
    saga = await inspector.saga(plant.payment)
    return Verdict(plant, None) if saga is None else Verdict(plant, finding_in(saga), saga["headline"])


def _fault(verdict: Verdict) -> dict[str, Any]:
    found = verdict.found and {**asdict(verdict.found), "headline": verdict.headline}
    planted = {"told": verdict.plant.told, **asdict(verdict.plant.expected)}
    return {"id": verdict.plant.payment, "planted": planted, "found": found, "ok": verdict.ok}
