"""Queries for one saga in full, and the search by an id or a key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sagascope_collector import analysis
from sagascope_collector.analysis import model
from sagascope_collector.api import parameters, present
from sagascope_collector.archives import otlp_json
from sagascope_collector.client import schemas
from sagascope_collector.errors import NotFound
from sagascope_collector.records import Facts, SagaId
from sagascope_collector.storage import SagaRow, Storage

MAX_MATCHES: int = 50
"""Maximum number of sagas that a search returns."""

Hits = list[tuple[str, str]]
"""Search results as (kind, summary as JSON)."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Reads one store. Every method blocks: call it from a thread, not from the event loop."""

    storage: Storage
    context: Callable[[int], analysis.Context]
    clock: Callable[[], int]
    stored_as: Callable[[str], str] = str
    """Returns the form in which a text is stored after scrubbing; an id that looks like a card number is replaced."""

    def saga(self, name: str, saga_id: str, environment: str | None, run: str | None) -> schemas.Saga:
        """Returns one saga in full, with the verdict as of now. Without `environment` or `run`, the latest started one.

        Raises:
            NotFound: no record with this id, name, environment and run was received.
        """
        context = self.context(self.clock())
        try:
            facts, saga, runs = self._named(name, saga_id, environment, run, context)
        except NotFound:
            if row := self._summary_only(name, saga_id, environment, run):
                return present.summary_only(row.document)
            raise
        full = present.full(saga, analysis.diagnose(saga, facts.instances, context), runs)
        unread = {
            "spans_total": full.spans_total + max(0, facts.spans_total - len(facts.spans)),
            "logs_total": full.logs_total + max(0, facts.logs_total - len(facts.logs)),
        }
        return full.model_copy(update=unread)

    def _summary_only(self, name: str, saga_id: str, environment: str | None, run: str | None) -> SagaRow | None:
        """Returns the latest started of the matching sagas whose records were downsampled to a summary, else None."""
        wanted = [
            row
            for row in self.storage.listing.downsampled(saga_id)
            or self.storage.listing.downsampled(self.stored_as(saga_id))
            if row.key.name == name and environment in (None, row.key.environment) and run in (None, row.key.run)
        ]
        return max(wanted, key=lambda row: row.started_at, default=None)

    def telemetry(self, name: str, saga_id: str, environment: str | None, run: str | None) -> Iterator[bytes]:
        """Returns the records of one saga as lines of OTLP in JSON. Without `environment` or `run`, as in `saga`.

        Raises:
            NotFound: no record with this id, name, environment and run was received, or the records were removed.
        """
        try:
            _, saga, _ = self._named(name, saga_id, environment, run, self.context(self.clock()))
        except NotFound as error:
            if self._summary_only(name, saga_id, environment, run):
                raise NotFound(
                    f"The records of the saga {name!r} with the id {saga_id!r} were deleted; only the summary was kept."
                ) from error
            raise
        return otlp_json.lines(saga.spans, saga.logs)

    def _named(
        self, name: str, saga_id: str, environment: str | None, run: str | None, context: analysis.Context
    ) -> tuple[Facts, model.Saga, list[str]]:
        """Returns the latest started of the matching sagas, with its facts and the runs of its name and id.

        Raises:
            NotFound: no saga matches.
        """
        found = self._sagas_with(saga_id, environment, context) or self._scrubbed(saga_id, environment, context)
        named = [each for each in found if each[1].key.name == name]
        wanted = [each for each in named if run is None or each[1].key.run == run]
        if not wanted:
            raise NotFound(self._unknown(name, saga_id, _narrowed(environment, run)))
        facts, saga = max(wanted, key=lambda each: each[1].started_at)
        runs = [other.key.run for _, other in named if other.key.environment == saga.key.environment]
        return facts, saga, runs

    def _unknown(self, name: str, saga_id: str, where: str) -> str:
        saga = f"No saga {name!r} with the id {saga_id!r}{where}"
        if self.storage.retention.has_expired(self.stored_as(saga_id)):
            return f"{saga} is stored any more: it was deleted at the end of its retention period."
        return f"{saga} was ever received."

    def search(self, text: str) -> str:
        """Returns the sagas that `text` may refer to, as `schemas.SearchResult` in JSON."""
        stored = self.stored_as(text)
        hits = self._best_hits(text) or (self._best_hits(stored) if stored != text else [])
        reason = "null" if hits else f'"{self._reason(text)}"'
        matches = ",".join(f'{{"kind":"{kind}","saga":{document}}}' for kind, document in hits)
        return f'{{"matches":[{matches}],"reason":{reason}}}'

    def _best_hits(self, text: str) -> Hits:
        """Returns the hits of the first interpretation that matches exactly, else of the first id prefix.

        Single words of a sentence count only if they match exactly: the 5 in "stuck for 5 minutes" is a prefix of many
        ids.
        """
        prefix_hits: Hits = []
        for interpretation in parameters.interpretations(text):
            hits = self._hits(interpretation)
            if _exact(hits):
                return hits
            prefix_hits = prefix_hits or hits
        if prefix_hits:
            return prefix_hits
        return next(filter(None, (_exact(self._hits(word)) for word in parameters.words(text))), [])

    def _hits(self, interpretation: str) -> Hits:
        found = [(kind, row.document) for kind, row in self.storage.search(interpretation, limit=MAX_MATCHES)]
        return found if any(kind == "id" for kind, _ in found) else [*self._unlisted(interpretation), *found]

    def _unlisted(self, saga_id: str) -> Iterator[tuple[str, str]]:
        """Yields the sagas of this id that are stored but not yet listed."""
        context = self.context(self.clock())
        for facts, saga in self._sagas_with(saga_id, None, context):
            yield "id", present.summary(saga, analysis.diagnose(saga, facts.instances, context)).model_dump_json()

    def _reason(self, text: str) -> schemas.NothingFound:
        if any(self.storage.lookup.sagas_with(each) for each in parameters.telemetry_ids(text)):
            return "not_a_saga"
        meant = [*parameters.interpretations(text), self.stored_as(text)]
        return "expired" if any(map(self.storage.retention.has_expired, meant)) else "never_seen"

    def _scrubbed(
        self, saga_id: str, environment: str | None, context: analysis.Context
    ) -> list[tuple[Facts, model.Saga]]:
        """Returns the same as `_sagas_with`, for an id that scrubbing replaced."""
        stored = self.stored_as(saga_id)
        return self._sagas_with(stored, environment, context) if stored != saga_id else []

    def _sagas_with(
        self, saga_id: str, environment: str | None, context: analysis.Context
    ) -> list[tuple[Facts, model.Saga]]:
        """Returns every saga with an id, and its facts; within an environment the latest started first."""
        if environment is None:
            facts = self.storage.lookup.facts_called(saga_id)
        else:
            facts = self.storage.lookup.facts([SagaId(environment, saga_id)])
        return [
            (each, saga) for each in facts.values() for saga in analysis.rebuild(each, context.now, context.baselines)
        ]


def _exact(hits: Hits) -> Hits:
    return [each for each in hits if each[0] != "prefix"]


def _narrowed(environment: str | None, run: str | None) -> str:
    """Returns `` in the environment 'x', run 'y'``, without the parts that are None."""
    where = "" if environment is None else f" in the environment {environment!r}"
    return where + ("" if run is None else f", run {run!r}")
