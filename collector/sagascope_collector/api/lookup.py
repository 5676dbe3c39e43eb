"""Queries for one saga in full, and the search by an id or a key."""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

import yaml

from sagascope_collector import analysis
from sagascope_collector.analysis import model
from sagascope_collector.api import overview, present
from sagascope_collector.api.parameters import CountsQuery, SagasQuery
from sagascope_collector.archives import exports
from sagascope_collector.client import schemas
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, parse_duration, to_datetime
from sagascope_collector.errors import NotFound
from sagascope_collector.records import Facts, SagaId
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage

MAX_MATCHES: int = 50
"""Maximum number of sagas that a search returns."""

TEXT_SEARCH_SECONDS: float = 0.3
"""Maximum time for which records are searched for words, the newest first."""

MIN_TEXT_CHARACTERS: int = 3
"""A shorter text is not searched for: it is in too many records."""

MAX_TEXT_MATCHES: int = 1_000
"""Maximum number of sagas with a text that a list considers; the answer says if there are more."""

TEXT_CACHE_SECONDS: float = 5.0
"""Time for which a list that is refreshed does not search for the same text again."""

MAX_CACHED_TEXTS: int = 64

MAX_SPANS_OF_ID: int = 1_000
"""A value of more spans than this identifies no transaction."""

TEXT_SEARCH_COMMITS: int = 64
"""Number of commits that are searched first; then twice as many, as long as that is quick."""

MAX_PATH_SPLITS: int = 8
"""Maximum number of slashes in a path that are tried as the border between name and id."""

Hits = list[tuple[str, str]]
"""Search results as (kind, summary as JSON)."""


@dataclass(frozen=True, slots=True)
class TextMatches:
    """The sagas with a text in an error message or log line, the latest first."""

    sagas: Collection[SagaId]
    since: datetime | None
    """The receipt of the first record that was searched; None if all were."""
    limit: int | None
    """The number of `sagas`, if more have the text; else None."""
    unassigned: schemas.Unassigned | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Reads one store. Every method blocks: call it from a thread, not from the event loop."""

    storage: Storage
    context: Callable[[int], analysis.Context]
    clock: Callable[[], int]
    stored_as: Callable[[str], str] = str
    """Returns the form in which a text is stored after scrubbing; an id that looks like a card number is replaced."""
    _recent_texts: dict[str, tuple[float, TextMatches]] = field(default_factory=dict)
    """The time of the search for each of the latest texts, and its result."""

    def saga(self, name: str, saga_id: str, environment: str | None, run: str | None) -> schemas.Saga:
        """Returns one saga in full, with the verdict as of now. Without `environment` or `run`, the latest started one.

        Raises:
            NotFound: no record with this id, name, environment and run was received.
        """
        context = self.context(self.clock())
        try:
            facts, saga, runs = self._find(name, saga_id, environment, run, context)
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

    def saga_at(self, path: str, environment: str | None, run: str | None) -> schemas.Saga:
        """Returns the saga at ``name/id``, both of which may contain slashes; the shortest name that exists is used.

        Raises:
            NotFound: as in `saga`, for the first split.
        """
        parts = path.split("/")
        splits = [("/".join(parts[:at]), "/".join(parts[at:])) for at in range(1, len(parts))][:MAX_PATH_SPLITS]
        unknown: NotFound | None = None
        for name, saga_id in splits:
            try:
                return self.saga(name, saga_id, environment, run)
            except NotFound as error:
                unknown = unknown or error
        raise unknown or NotFound(self._unknown("", path, _location_text(environment, run)))

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
            _, saga, _ = self._find(name, saga_id, environment, run, self.context(self.clock()))
        except NotFound as error:
            if self._summary_only(name, saga_id, environment, run):
                raise NotFound(
                    f"The records of the saga {name!r} with the id {saga_id!r} were deleted; only the summary was kept."
                ) from error
            raise
        return exports.lines(saga.spans, saga.logs)

    def _find(
        self, name: str, saga_id: str, environment: str | None, run: str | None, context: analysis.Context
    ) -> tuple[Facts, model.Saga, list[str]]:
        """Returns the latest started of the matching sagas, with its facts and the runs of its name and id.

        Raises:
            NotFound: no saga matches.
        """
        found = self._sagas_with(saga_id, environment, context)
        if not found and (stored := self.stored_as(saga_id)) != saga_id:
            found = self._sagas_with(stored, environment, context)
        named = [each for each in found if each[1].key.name == name]
        wanted = [each for each in named if run is None or each[1].key.run == run]
        if not wanted:
            raise NotFound(self._unknown(name, saga_id, _location_text(environment, run)))
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
        _, hits = self._find_hits(text)
        found = None if hits else self._text_matches(text)
        rest = schemas.SearchResult(matches=[], reason=None, words_since=None, unassigned=None, truncated=False)
        if found is not None:
            rows = self.storage.listing.of_ids(list(found.sagas), MAX_MATCHES + 1)
            hits = [("error", row.document) for row in rows]
            reason = None if hits else "not_a_saga" if found.unassigned else self._reason(text)
            rest = rest.model_copy(
                update={"reason": reason, "words_since": found.since, "unassigned": None if hits else found.unassigned}
            )
        rest = rest.model_copy(update={"truncated": len(hits) > MAX_MATCHES})
        # summaries are stored as JSON, and inserted without being parsed
        matches = ",".join(f'{{"kind":"{kind}","saga":{document}}}' for kind, document in hits[:MAX_MATCHES])
        return rest.model_dump_json().replace('"matches":[]', f'"matches":[{matches}]', 1)

    def page(self, query: SagasQuery) -> str:
        """Returns a page of a list, as `schemas.Sagas` in JSON; its `q` finds what `search` finds.

        Raises:
            BadCursor: the cursor was not issued here, or is of another list.
        """
        narrowed, also, matches = self._interpreted(query)
        page = self.storage.listing.page(narrowed, limit=query.limit, cursor=query.cursor, order=query.order, also=also)
        rest = schemas.Sagas(items=[], next_cursor=page.next_cursor, words_since=None, words_limit=None)
        if matches is not None:
            rest = rest.model_copy(update={"words_since": matches.since, "words_limit": matches.limit})
        # as in `search`
        items = ",".join(row.document for row in page.rows)
        return rest.model_dump_json().replace('"items":[]', f'"items":[{items}]', 1)

    def counts(self, query: CountsQuery) -> schemas.Counts:
        """Returns the numbers of the sagas of a list by status, attention code and time."""
        narrowed, also, _ = self._interpreted(query)
        until = min(query.until or self.clock(), self.clock())
        seconds = parse_duration(query.window)
        period = overview.count_period(seconds)
        since = max(until - int(seconds * NANOSECONDS_PER_SECOND), 0)
        counted = self.storage.listing.counts(narrowed, since, until, period * NANOSECONDS_PER_SECOND, also)
        return overview.counts(*counted, since=since, until=until, period=period)

    def _interpreted(self, query: SagaFilters) -> tuple[SagaFilters, Collection[SagaId], TextMatches | None]:
        """Returns the filters with the interpretation of `q` that finds something, and the sagas of that trace.

        Where nothing but a search for words finds something, its result comes third.
        """
        if query.q is None:
            return query, (), None
        meant, hits = self._find_hits(query.q)
        kinds = {kind for kind, _ in hits}
        if not kinds:
            matches = self._text_matches(query.q)
            return query.model_copy(update={"q": meant}), matches.sagas, matches
        also = self.storage.lookup.sagas_with(meant) if kinds & {"trace", "span"} else ()
        return query.model_copy(update={"q": meant}), also, None

    def _text_matches(self, text: str) -> TextMatches:
        """Returns the sagas with a text in an error message or log line, as of some seconds ago."""
        now, meant = time.monotonic(), trim(text)
        found_at, found = self._recent_texts.get(meant, (0.0, None))
        if found is None or now > found_at + TEXT_CACHE_SECONDS:
            if len(self._recent_texts) >= MAX_CACHED_TEXTS:
                self._recent_texts.clear()
            found = self._search_text(meant)
            self._recent_texts[meant] = now, found
        return found

    def _search_text(self, meant: str) -> TextMatches:
        """Searches the newest records for a text."""
        sagas: dict[SagaId, None] = {}
        spans, attribute, since, started_at = 0, "", None, time.monotonic()
        newest, commits = self.storage.records.seq if len(meant) >= MIN_TEXT_CHARACTERS else 0, TEXT_SEARCH_COMMITS
        first = newest + 1
        while first > 1 and len(sagas) <= MAX_TEXT_MATCHES:
            last, first, before = first - 1, max(first - commits, 1), time.monotonic()
            is_newest = last == newest
            found = self.storage.lookup.sagas_with_text(meant, first, last, MAX_TEXT_MATCHES + 1, moved=is_newest)
            sagas |= dict.fromkeys(found)
            number, key, received_at = self.storage.lookup.unassigned(meant, first, last)
            spans, attribute, since = spans + number, attribute or key, received_at or since
            # doubled only while a step takes a small part of the time: the next one may take twice as long
            commits *= 2 if time.monotonic() - before < TEXT_SEARCH_SECONDS / 8 else 1
            if time.monotonic() > started_at + TEXT_SEARCH_SECONDS:
                break
        until = to_datetime(since) if since is not None and first > 1 else None
        limit = MAX_TEXT_MATCHES if len(sagas) > MAX_TEXT_MATCHES else None
        return TextMatches(list(sagas)[:limit], until, limit, _unassigned(meant, spans, attribute))

    def _find_hits(self, text: str) -> tuple[str, Hits]:
        """Returns the hits of a text as written, else as stored after scrubbing, with the interpretation found."""
        stored = self.stored_as(text)
        meant, hits = self._best_hits(text)
        return (meant, hits) if hits or stored == text else self._best_hits(stored)

    def _best_hits(self, text: str) -> tuple[str, Hits]:
        """Returns the first interpretation that matches exactly, else the first that is the prefix of an id.

        Single words of a sentence count only if they match exactly: the 5 in "stuck for 5 minutes" is a prefix of many
        ids.
        """
        of_prefix: tuple[str, Hits] = text, []
        for interpretation in interpretations(text):
            hits = self._hits(interpretation)
            if _exact(hits):
                return interpretation, hits
            if hits and not of_prefix[1]:
                of_prefix = interpretation, hits
        if of_prefix[1]:
            return of_prefix
        of_words = ((word, _exact(self._hits(word))) for word in words(text))
        return next((found for found in of_words if found[1]), of_prefix)

    def _hits(self, interpretation: str) -> Hits:
        found = [(kind, row.document) for kind, row in self.storage.search(interpretation, limit=MAX_MATCHES + 1)]
        return found if any(kind == "id" for kind, _ in found) else [*self._unlisted(interpretation), *found]

    def _unlisted(self, saga_id: str) -> Iterator[tuple[str, str]]:
        """Yields the sagas of this id that are stored but not yet listed."""
        context = self.context(self.clock())
        for facts, saga in self._sagas_with(saga_id, None, context):
            yield "id", present.summary(saga, analysis.diagnose(saga, facts.instances, context)).model_dump_json()

    def _reason(self, text: str) -> schemas.NothingFound:
        if any(self.storage.lookup.sagas_with(each) for each in telemetry_ids(text)):
            return "not_a_saga"
        meant = [*interpretations(text), self.stored_as(text)]
        return "expired" if any(map(self.storage.retention.has_expired, meant)) else "never_seen"

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
    return [each for each in hits if each[0] not in ("prefix", "key_prefix")]


def _unassigned(value: str, spans: int, attribute: str) -> schemas.Unassigned | None:
    """Returns the mapping rule that makes an attribute the id of sagas; None if its value does not look like an id."""
    if not 0 < spans <= MAX_SPANS_OF_ID or not attribute or not any(map(str.isdigit, value)):
        return None
    rule = {"scope": "trace", "when": {"has": [attribute]}, "id": attribute, "name": {"constant": "transaction"}}
    rules = {"rules": [rule]}
    return schemas.Unassigned(spans=spans, attribute=attribute, rule=yaml.safe_dump(rules, sort_keys=False))


def _location_text(environment: str | None, run: str | None) -> str:
    """Returns `` in the environment 'x', run 'y'``, without the parts that are None."""
    where = "" if environment is None else f" in the environment {environment!r}"
    return where + ("" if run is None else f", run {run!r}")


MAX_WORDS: int = 6
"""Words of a longer text that a search tries; in a sentence, an id is usually among the last words with a digit."""

_SURROUNDING = (
    " #*_`'\"()[]{}<>.,;:!?|\\\u00ab\u00b4\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2026\u2039\u203a"
)
"""Characters that people, chats and mail programs put around an id."""

_INVISIBLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.IGNORECASE)
_TELEMETRY_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{16}", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[\s=:,;|]+")


def trim(text: str) -> str:
    """Strips punctuation around an id: ``"#8492?"`` becomes ``8492``. A text of only punctuation is kept."""
    visible = _INVISIBLE.sub(" ", text).strip()
    return visible.strip(_SURROUNDING) or visible


def interpretations(text: str) -> list[str]:
    """Returns what a text may mean as one id, key or trace: first unchanged, then increasingly trimmed."""
    visible = _INVISIBLE.sub(" ", text).strip()
    found = [text, visible, *_from_link(visible), trim(visible), *_TRACEPARENT.findall(visible)]
    lowered = [each.lower() for each in found if _TELEMETRY_ID.fullmatch(each)]
    return _distinct(found + lowered)


def words(text: str) -> list[str]:
    """Returns the words of a longer text that may be an id: those with a digit first, then from the last."""
    trimmed = _distinct(trim(each) for each in reversed(_BETWEEN_WORDS.split(text)))
    ranked = sorted(trimmed, key=lambda word: not any(letter.isdigit() for letter in word))
    return ranked[:MAX_WORDS] if len(ranked) > 1 else []


def telemetry_ids(text: str) -> list[str]:
    """Returns the interpretations that have the form of a trace or span id, in lower case."""
    return _distinct(each.lower() for each in interpretations(text) if _TELEMETRY_ID.fullmatch(each))


def _from_link(text: str) -> list[str]:
    """Returns the ids in a pasted link to a page of a saga or to the API."""
    if "://" not in text:
        return []
    try:
        link = urlsplit(text)
    except ValueError:
        return []
    return [value for name, value in parse_qsl(link.query) if name in {"id", "q"}]


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
