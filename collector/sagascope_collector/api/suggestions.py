"""Suggests mapping rules for spans that belong to no saga."""

import re
from operator import itemgetter
from typing import Final

import yaml

from sagascope_collector.client import schemas
from sagascope_collector.storage import Storage
from sagascope_collector.storage.connection import statements

SQL: Final = statements("suggestions")

RECENT_RECORDS: int = 100_000
"""Number of the newest records of which spans without a saga are counted and examined."""

TECHNICAL: Final = re.compile(
    r"^(http|url|net|network|server|client|peer|rpc|db|thread|code|user_agent|otel|telemetry|process|host|k8s|container"
    r"|exception|error|feature_flag|messaging\.(batch|kafka|rabbitmq|destination|operation|client|system)|sagascope"
    r"|source|destination|faas|cloud|aws|gcp|tls|dns|cpu|disk|system|os|device|browser|session\.previous)[._]"
    r"|(^|[._])(port|size|length|count|duration|latency|version|timestamp|time|date|amount|price|quantity|total|ip)$"
)
"""Matches attributes that OpenTelemetry's conventions, or their names, show not to identify a transaction."""

REQUEST_LIKE: Final = re.compile(
    r"(request|session|trace|span|correlation|message|event|user|customer|account|product|sku|item|tenant|enduser)"
    r"[._-]?(id|key|uuid|number|no|code)?$",
    re.IGNORECASE,
)
"""Matches attributes that identify a request, a person or a thing rather than a transaction."""

MAX_TRACES_OF_VALUE: Final = 20
"""A value of an attribute that has more traces on average is not the id of a transaction."""

MANY_TRACES_OF_VALUE: Final = 5

MAX_CANDIDATES: Final = 200
MAX_SUGGESTIONS: Final = 10


def recent_spans(storage: Storage) -> tuple[int, int]:
    """Returns the number of the newest spans, and how many of them belong to no saga."""
    ((spans, unassigned),) = storage.database.rows(SQL["count_recent_spans"], {"after": _recent(storage)})
    return spans, unassigned


def suggestions(storage: Storage) -> schemas.Suggestions:
    """Returns mapping rules for the newest spans that belong to no saga, the best first."""
    spans, unassigned = recent_spans(storage)
    values = {
        "after": _recent(storage),
        "excluded": TECHNICAL.pattern,
        "max_traces": MAX_TRACES_OF_VALUE,
        "limit": MAX_CANDIDATES,
    }
    rows = storage.database.rows(SQL["select_unassigned_attributes"], values)
    found = sorted((_suggestion(*row) for row in rows), key=itemgetter(0))
    return schemas.Suggestions(spans=spans, unassigned=unassigned, items=[each for _, each in found[:MAX_SUGGESTIONS]])


def _recent(storage: Storage) -> int:
    return max(0, storage.records.seq - RECENT_RECORDS)


def _suggestion(
    key: str, values: int, spans: int, traces: int, joined: int, services: int, example: str
) -> tuple[tuple[bool, int, int, int, str], schemas.Suggestion]:
    """Returns a suggestion after its rank; the least is the best."""
    is_likely = REQUEST_LIKE.search(key) is None and traces <= MANY_TRACES_OF_VALUE * values
    rule = {"scope": "trace", "when": {"has": [key]}, "id": key, "name": {"constant": _saga_name(key)}}
    text = yaml.safe_dump({"rules": [rule]}, sort_keys=False, allow_unicode=True)
    suggestion = schemas.Suggestion(
        attribute=key,
        values=values,
        spans=spans,
        traces=traces,
        services=services,
        joined=joined,
        example=example.strip('"'),
        is_likely=is_likely,
        rule=text,
    )
    return (not is_likely, -bool(joined), -services, -values, key), suggestion


def _saga_name(key: str) -> str:
    """Returns the type of transaction that an attribute's name suggests: ``order`` for ``app.order.id``."""
    bare = re.sub(r"[._-]?(id|key|uuid|number|no)$", "", key, flags=re.IGNORECASE)
    return re.split(r"[._-]", bare or key)[-1] or key
