"""Results of a search."""

from typing import Literal

from sagascope_collector.client.schemas.base import Wire
from sagascope_collector.client.schemas.sagas import SagaSummary

MatchKind = Literal["id", "prefix", "key", "trace", "span"]

NothingFound = Literal["never_seen", "expired", "not_a_saga"]


class Match(Wire):
    """A saga that a search found, and by what."""

    kind: MatchKind
    saga: SagaSummary


class SearchResult(Wire):
    """What a search found; `reason` says why it found nothing."""

    matches: list[Match]
    reason: NothingFound | None
