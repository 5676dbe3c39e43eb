"""The HTTP API: each route parses its parameters, calls the package in question and returns the response.

Routes that read the store are plain functions: the framework runs them in threads, so that no query blocks the event
loop, which also serves the OTLP receivers.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Response

from sagascope_collector import analysis
from sagascope_collector.api import overview, responses
from sagascope_collector.api.admission import BodyLimit, QuerySlot, ReadLimits, ReadSlots
from sagascope_collector.api.database import Eraser, Mapper, backup_routes, erasure_routes, mapping_routes
from sagascope_collector.api.incidents import Tasks, incident_routes
from sagascope_collector.api.lookup import Lookup
from sagascope_collector.api.overview import Health, status
from sagascope_collector.api.parameters import (
    CallsQuery,
    CountsQuery,
    NamedSagaQuery,
    NoParameters,
    SagaQuery,
    SagasQuery,
    SearchQuery,
    WindowQuery,
    new_router,
)
from sagascope_collector.api.responses import OtlpJsonLines, json_response, responds
from sagascope_collector.api.sql import Queries
from sagascope_collector.client import schemas
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import Disabled, NotFound, Unavailable
from sagascope_collector.incidents import Comparison, Incidents
from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import Word
from sagascope_collector.storage import Storage
from sagascope_collector.storage.statistics import whole_period

if TYPE_CHECKING:
    from sagascope_collector.lake import LakeErasure

MAX_COMPARED_PATHS: int = 100
"""Maximum number of paths of a saga type among which the usual one is chosen."""

MAX_CALL_SPANS: int = 200_000
"""Approximate maximum number of spans among which calls are counted."""

NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
"""Switches off the framework's own telemetry: a collector must not ingest telemetry about its own API."""


def create_api(
    storage: Storage,
    context_at: Callable[[int], analysis.Context],
    health: Health,
    incidents: Incidents,
    clock: Callable[[], int] = time.time_ns,
    stored_as: Callable[[str], str] = str,
    limits: ReadLimits = ReadLimits(),  # noqa: B008  it cannot change
    *,
    with_sql: bool = True,
    mapper: Mapper | None = None,
    on_erased: Callable[[Sequence[SagaId]], None] = lambda _: None,
    lake_erasure: "LakeErasure | None" = None,
) -> FastAPI:
    """Returns the API over one storage, as an ASGI application.

    Args:
        storage: the storage to read.
        context_at: returns the context of verdicts for a time in nanoseconds since 1970.
        health: the state of the collector's process.
        incidents: the incidents.
        clock: returns the current time in nanoseconds since 1970.
        stored_as: returns the form in which a text is stored after scrubbing.
        limits: the limits of concurrent reads.
        with_sql: whether SQL queries are allowed.
        mapper: maps stored records; None: the API has no route for it.
        on_erased: called with the erased sagas.
        lake_erasure: what erases from the lake of which the storage is a copy.
    """
    api = FastAPI(
        title="Sagascope",
        summary="The state of every saga, and why it needs attention.",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    responses.register(api)
    api.add_middleware(BodyLimit)
    read_slot = [Depends(ReadSlots(limits).hold, scope="function")]
    lookup = Lookup(storage, context_at, clock, stored_as)
    api.include_router(_saga_routes(lookup), dependencies=read_slot)
    api.include_router(_list_routes(lookup), dependencies=read_slot)
    tasks, comparison = Tasks(storage, context_at, clock), Comparison(storage, clock)
    api.include_router(incident_routes(incidents, tasks, comparison), dependencies=read_slot)
    api.include_router(_sql_routes(Queries(storage) if with_sql else None))
    api.include_router(
        erasure_routes(Eraser(storage, stored_as, on_erased, lake_erasure), read_slot)
    )  # has no time limit
    if mapper:
        api.include_router(mapping_routes(storage, mapper, read_slot))
    process = _process_routes(storage, health, with_sql=with_sql)
    api.include_router(process)  # must answer while other calls wait
    api.include_router(backup_routes(storage))
    return api


def _saga_routes(lookup: Lookup) -> APIRouter:
    router = new_router()

    @router.get("/api/v1/search", **responds(schemas.SearchResult))
    def search(query: Annotated[SearchQuery, Query()]) -> Response:
        """Finds sagas by an id or its prefix, a business key's value, a trace id or a span id."""
        return json_response(lookup.search(query.q))

    @router.get("/api/v1/saga", **responds(schemas.Saga, 404))
    def saga(query: Annotated[NamedSagaQuery, Query()]) -> Response:
        """Returns one saga in full, with the current verdict. The name and id may contain any character."""
        return json_response(lookup.saga(query.name, query.id, query.environment, query.run))

    @router.get("/api/v1/export", response_class=OtlpJsonLines, responses=responses.described(404, 422, 503))
    def export(query: Annotated[NamedSagaQuery, Query()]) -> Response:
        """Exports one saga's records as OTLP in JSON, one request per line; without `run`, of the latest started."""
        return OtlpJsonLines(lookup.telemetry(query.name, query.id, query.environment, query.run))

    @router.get("/api/v1/sagas/{name}/{id:path}", **responds(schemas.Saga, 404))
    def saga_at(
        name: Annotated[Word, Path()], saga_id: Annotated[Word, Path(alias="id")], query: Annotated[SagaQuery, Query()]
    ) -> Response:
        """Returns one saga in full, with the current verdict; without `run`, the latest started.

        The name may contain slashes, too; where that is ambiguous, `/api/v1/saga` is not.
        """
        return json_response(lookup.saga_at(f"{name}/{saga_id}", query.environment, query.run))

    return router


def _list_routes(lookup: Lookup) -> APIRouter:
    router, storage, context, clock = new_router(), lookup.storage, lookup.context, lookup.clock

    @router.get("/api/v1/sagas", **responds(schemas.Sagas))
    def listed(query: Annotated[SagasQuery, Query()]) -> Response:
        """Lists sagas, the latest started first unless `sort` is given. `attention=any`: all that need attention."""
        return json_response(lookup.page(query))

    @router.get("/api/v1/counts", **responds(schemas.Counts))
    def counts(query: Annotated[CountsQuery, Query()]) -> Response:
        """Counts the sagas that match, by status, attention code, and time within the last `window`."""
        return json_response(lookup.counts(query))

    @router.get("/api/v1/flows", **responds(schemas.Flows))
    def flows(_: Annotated[NoParameters, Query()]) -> Response:
        """Returns saga types, with the number of sagas by status and of those that need attention."""
        return json_response(overview.flows(storage.sagas.flow_counts()))

    @router.get("/api/v1/flows/{name:path}", **responds(schemas.FlowInFull, 404))
    def flow(name: Annotated[Word, Path()], query: Annotated[WindowQuery, Query()]) -> Response:
        """Returns how often and how long each step of a saga type ran within the last `window`: `15m`, `24h`, `7d`."""
        period = whole_period(query.seconds // overview.MAX_FLOW_PERIODS)
        since = max(clock() - query.seconds * NANOSECONDS_PER_SECOND, 0)
        steps = storage.statistics.steps(name, query.environment, since, period)
        if not steps and not any(name == known for known, *_ in storage.sagas.flow_counts()):
            raise NotFound(f"No saga of the type {name!r} was ever received.")
        return json_response(
            overview.flow(
                name, period, steps, storage.statistics.paths(name, query.environment, since, MAX_COMPARED_PATHS)
            )
        )

    @router.get("/api/v1/services", **responds(schemas.Services))
    def services(_: Annotated[NoParameters, Query()]) -> Response:
        """Returns services, with their instances and the number of open spans of each."""
        return json_response(overview.services(storage.instances.all(), context(clock())))

    @router.get("/api/v1/calls", **responds(schemas.Calls))
    def calls(query: Annotated[CallsQuery, Query()]) -> Response:
        """Returns which services called which others within the last `window`, how often, and how often that failed."""
        since = max(clock() - query.seconds * NANOSECONDS_PER_SECOND, 0)
        return json_response(
            overview.calls(storage.statistics.calls(since, query.environment, MAX_CALL_SPANS), query.seconds)
        )

    return router


def _sql_routes(queries: Queries | None) -> APIRouter:
    """Returns the route; `queries` is None if SQL is switched off."""
    router = new_router()
    slot = QuerySlot(queries) if queries else None

    @router.post("/api/v1/sql", **responds(schemas.SqlResult, 403))
    async def sql(request: schemas.SqlQuery, _: Annotated[NoParameters, Query()]) -> Response:
        """Runs one SELECT over the views `spans`, `logs` and `sagas`, read-only, and returns its first rows."""
        if slot is None:
            raise Disabled("SQL is off: --no-sql was given, or the API listens beyond loopback. See serve --sql.")
        return json_response(await slot.answer(request))

    return router


def _process_routes(storage: Storage, health: Health, *, with_sql: bool) -> APIRouter:
    router = new_router()

    @router.get("/api/v1/status", **responds(schemas.Status))
    def collector_status(_: Annotated[NoParameters, Query()]) -> Response:
        """Returns the status of the collector."""
        return json_response(status(storage, health, with_sql=with_sql))

    @router.get("/healthz", **responds(schemas.Alive))
    async def healthz() -> Response:
        """Returns whether the process runs. Two headers, `Sagascope-OTLP-HTTP` and `-gRPC`, hold the OTLP addresses."""
        answer = json_response(schemas.Alive(status="ok", reasons=[]))
        answer.headers.update(health.otlp_addresses())
        return answer

    @router.get("/readyz", **responds(schemas.Alive))
    async def readyz() -> Response:
        """Returns whether telemetry can be ingested and queries answered; 503 with the reason if not."""
        reason = health.unready()
        if reason is not None:
            raise Unavailable(reason)
        reasons = list(health.degraded())
        return json_response(schemas.Alive(status="degraded" if reasons else "ok", reasons=reasons))

    return router
