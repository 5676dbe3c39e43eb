"""What hostile bytes are thrown at, and what must hold of each: nothing raises, and what is taken can be told.

A target takes bytes and raises when something is wrong. Its corpus is the folder of its name: files written by hand,
and what once did harm.
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from sagascope_collector import analysis
from sagascope_collector.api import present
from sagascope_collector.engines import BUILT_IN
from sagascope_collector.errors import Undecodable
from sagascope_collector.ingest import Encoding, Payload, Receipt, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.scrubbing import Pseudonyms, Rules, Scrubber
from sagascope_collector.storage import Storage
from support.otlp import NOON, SECOND, log, logs, of_saga, resource
from support.readings import exact, fast

CORPUS: Final = Path(__file__).parents[1] / "fuzz" / "corpus"

Target = Callable[[bytes], None]

ANEW: Final = 200
"""Cases after which the store is made anew: the facts of a saga add up."""


class _Collector:
    """Everything between a request and an answer about its sagas, without ports."""

    def __init__(self) -> None:
        self._numbers = count()
        self._scrubber = Scrubber(Rules(), Pseudonyms(lambda: b"k" * 32), BUILT_IN.keys)
        self._store: Storage | None = None

    def take(self, payload: Payload) -> None:
        """Decode and store a request, and report every saga in it in full."""
        decoded = decode([payload], self._scrubber)
        (outcome,) = decoded.outcomes
        assert isinstance(outcome, Receipt | Undecodable), outcome
        if isinstance(outcome, Receipt):
            store = self._opened()
            store.records.append(decoded.batch)
            _report(store)

    def _opened(self) -> Storage:
        if self._store is None or next(self._numbers) % ANEW == ANEW - 1:
            self.close()
            self._store = Storage()
        return self._store

    def close(self) -> None:
        """Forget everything."""
        if self._store:
            self._store.close()
            self._store = None


def _report(store: Storage) -> None:
    ids = store.changes.claim(20)
    context = analysis.Context(NOON + 60 * SECOND)
    for facts in store.lookup.facts(ids).values():
        for saga in analysis.rebuild(facts, context.now):
            diagnosed = analysis.diagnose(saga, facts.instances, context)
            present.summary(saga, diagnosed).model_dump_json()
            present.full(saga, diagnosed, [saga.key.run]).model_dump_json()
    store.sagas.put(ids, [])


_collector: Final = _Collector()


def close() -> None:
    """Give up what the targets hold."""
    _collector.close()


def _request(signal: Signal, encoding: Encoding, data: bytes) -> None:
    payload = Payload(signal, encoding, data, NOON)
    if encoding is Encoding.PROTOBUF:
        _agree(payload)
    _collector.take(payload)


def _agree(payload: Payload) -> None:
    """What is read by columns is what is read record by record; what others' forms may be in is never read so."""
    said, rejected = fast([payload])
    if not rejected or BUILT_IN.prefilter([payload.body])[0]:
        return
    try:
        rows, numbers = exact([payload])
    except DecodeError:  # unknown fields may be written as no encoder would
        return
    assert list(rejected.values()) == numbers
    assert repr(said) == repr(rows)


def _partial(data: bytes) -> None:
    """The body of an otel-partial record; the first byte says which kind of one it claims to be."""
    chosen, body = (data[0] if data else 0), data[1:]
    kinds = ("json/v1", "proto", "", "odd")
    said = {"partial.event": ("heartbeat", "stop")[chosen >> 2 & 1], "partial.body.type": kinds[chosen & 3]}
    text = body if chosen & 8 else body.decode("utf-8", "replace")
    sent = logs(log(text, attributes=said | {"partial.frequency": "5000ms"}), of=resource("worker"))
    _request(Signal.LOGS, Encoding.PROTOBUF, sent.SerializeToString())


def _names(data: bytes) -> None:
    """Lines ``attribute=value`` of one log record of a saga: engines' attributes, heartbeats, plans, amounts."""
    lines = [line.partition("=") for line in data.decode("utf-8", "replace").split("\n")]
    told = {key: _value(value) for key, _, value in lines if key}
    event = told.pop("event_name", "")
    record = log("said", event_name=str(event), attributes=of_saga() | told, trace_id=b"t" * 16, span_id=b"s" * 8)
    _request(Signal.LOGS, Encoding.PROTOBUF, logs(record).SerializeToString())


def _value(text: str) -> object:
    """A number where it is one, a list where it has commas, else the text."""
    if "," in text:
        return [_value(part) for part in text.split(",")]
    for kind, bound in ((int, 2**63), (float, None)):
        try:
            number = kind(text)
        except ValueError:
            continue
        if bound is None or -bound <= number < bound:
            return number
    return text


TARGETS: Final[dict[str, Target]] = {
    **{f"{signal}_{encoding}": partial(_request, signal, encoding) for signal in Signal for encoding in Encoding},
    "partial": _partial,
    "names": _names,
}


def corpus(name: str) -> list[Path]:
    """The files of a target, in the order of their names."""
    return sorted(each for each in (CORPUS / name).iterdir() if each.is_file())
