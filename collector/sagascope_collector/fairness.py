"""A bounded queue in which one sender that floods leaves room for the others."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Item(NamedTuple, Generic[T]):
    """Something that waits, and what it costs to let it wait."""

    content: T
    cost: int


class Offered(NamedTuple, Generic[T]):
    """Whether something was queued, and what had to give way."""

    taken: bool
    ousted: list[T]


@dataclass(slots=True)
class _Line(Generic[T]):
    items: deque[Item[T]] = field(default_factory=deque)
    cost: int = 0


class FairQueue(Generic[T]):
    """First come, first served for each sender, and the senders in turn. Not safe for several threads at once.

    When it is full, whoever holds most gives way: the longest line loses its newest items to a sender whose line stays
    shorter. This is longest queue drop, as routers do it.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` bounds the sum of all costs."""
        self._capacity = capacity
        self._lines: OrderedDict[str, _Line[T]] = OrderedDict()
        self.cost = 0
        """Of everything that waits."""
        self.length = 0
        """How many items wait."""

    def offer(self, content: T, sender: str, cost: int) -> Offered[T]:
        """Queue it, if there is or can be made room. An empty queue takes anything: nothing is refused for ever."""
        ousted: list[T] = []
        while self.length and self.cost + cost > self._capacity:
            longest = max(self._lines, key=lambda each: self._lines[each].cost)
            if self._lines[longest].cost <= self._held_by(sender) + cost:
                return Offered(False, ousted)
            ousted.append(self._oust(longest))
        self._put(content, sender, cost)
        return Offered(True, ousted)

    def take(self) -> Item[T] | None:
        """The next item; None: nothing waits."""
        if not self._lines:
            return None
        sender, line = self._lines.popitem(last=False)
        item = line.items.popleft()
        self._account(line, -item.cost, -1)
        if line.items:
            self._lines[sender] = line
        return item

    def peek(self) -> list[T]:
        """What waits longest of each sender."""
        return [line.items[0].content for line in self._lines.values()]

    def _held_by(self, sender: str) -> int:
        return self._lines[sender].cost if sender in self._lines else 0

    def _put(self, content: T, sender: str, cost: int) -> None:
        line = self._lines.setdefault(sender, _Line())
        line.items.append(Item(content, cost))
        self._account(line, cost, 1)

    def _oust(self, sender: str) -> T:
        line = self._lines[sender]
        item = line.items.pop()
        self._account(line, -item.cost, -1)
        if not line.items:
            del self._lines[sender]
        return item.content

    def _account(self, line: _Line[T], cost: int, items: int) -> None:
        line.cost += cost
        self.cost += cost
        self.length += items
