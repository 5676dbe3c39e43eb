"""Adds up grades: expected and given answers, false alarms, misses, harm, and time to verdict."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from accuracy.grade import Grade, Problem

LABELS = ("complete", "plain", "skewed", "damaged")
KINDS = (
    *("false_alarm", "missed", "wrong_code", "wrong_step", "harmful", "customer", "ledger"),
    *("overconfident", "not_reminded", "split"),
)
NEVER = ("harmful", "customer")
"""Kinds that must not occur, whatever was lost of the telemetry."""

EXAMPLES = 5


@dataclass
class Report:
    """The grades of many sagas."""

    sagas: Counter[str] = field(default_factory=Counter)
    healthy: Counter[str] = field(default_factory=Counter)
    faulty: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    """Faulty sagas of which attention and step were right in time."""
    problems: Counter[tuple[str, str]] = field(default_factory=Counter)
    healthy_alarms: Counter[str] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    delays: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    since_fact: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    examples: defaultdict[tuple[str, str], list[tuple[int, str, Problem]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, grades: Iterable[Grade]) -> None:
        for each in grades:
            self._add(each)

    def _add(self, grade: Grade) -> None:
        label, kinds = grade.label, {each.kind for each in grade.problems}
        self.sagas[label] += 1
        (self.faulty if grade.is_faulty else self.healthy)[label] += 1
        if grade.is_faulty and not kinds & {"missed", "wrong_code", "wrong_step"}:
            self.right[label] += 1
        if not grade.is_faulty and kinds & {"false_alarm", "overconfident"}:
            self.healthy_alarms[label] += 1
        self.confusion[label, grade.expected, grade.answer] += 1
        if grade.delay is not None and grade.since_fact is not None:
            self.delays[label].append(grade.delay)
            self.since_fact[label].append(grade.since_fact)
        for each in grade.problems:
            self.problems[label, each.kind] += 1
            if len(self.examples[label, each.kind]) < EXAMPLES:
                self.examples[label, each.kind].append((grade.number, grade.fault, each))

    def count(self, kind: str, *labels: str) -> int:
        return sum(self.problems[label, kind] for label in labels or LABELS)

    def text(self) -> str:
        return "\n\n".join([self._table(), *(self._confusion(label) for label in LABELS), self._examples()])

    def _table(self) -> str:
        rows = [("", *LABELS)]
        rows.append(("sagas", *(f"{self.sagas[label]:,}" for label in LABELS)))
        rows.append(("of them faulty", *(f"{self.faulty[label]:,}" for label in LABELS)))
        rows.append(("attention and step right, % of faulty", *(self._share(label) for label in LABELS)))
        per = [f"{1e5 * self.healthy_alarms[label] / max(1, self.healthy[label]):,.1f}" for label in LABELS]
        rows.append(("false alarms per 100,000 healthy", *per))
        rows += [(kind.replace("_", " "), *(f"{self.problems[label, kind]:,}" for label in LABELS)) for kind in KINDS]
        for title, values in (("knowable to verdict", self.delays), ("fact to verdict", self.since_fact)):
            rows.append((f"{title}, p50/p95/max s", *(_spread(values[label]) for label in LABELS)))
        return _lines(rows)

    def _share(self, label: str) -> str:
        return f"{100 * self.right[label] / self.faulty[label]:.2f}" if self.faulty[label] else "-"

    def _confusion(self, label: str) -> str:
        of = {(wanted, answer): number for (where, wanted, answer), number in self.confusion.items() if where == label}
        wanted = sorted({each for each, _ in of})
        answer = sorted({each for _, each in of})
        rows = [(f"{label}: expected, said", *answer)]
        rows += [(each, *(f"{of.get((each, other), 0) or '':}" for other in answer)) for each in wanted]
        return _lines(rows)

    def _examples(self) -> str:
        found = []
        for (label, kind), several in sorted(self.examples.items()):
            found.append(f"{label}, {kind.replace('_', ' ')}:")
            found += [
                f"  saga {number} ({fault}) at {each.at:.2f} s: {each.text[:200]}" for number, fault, each in several
            ]
        return "\n".join(found)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    picked = (ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))], ordered[-1])
    return "/".join(f"{each:.2f}".rstrip("0").rstrip(".") for each in picked)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
