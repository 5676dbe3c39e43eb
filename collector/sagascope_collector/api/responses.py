"""The responses of the HTTP API: documents, streams, and errors as RFC 9457 problem details, each with its status."""

from collections.abc import Generator, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from sagascope_collector import errors
from sagascope_collector.client import schemas

PROBLEM_MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.SagascopeError], int] = {
    errors.Undecodable: 400,
    errors.TooLarge: 413,
    errors.BadValue: 422,
    errors.BadCursor: 422,
    errors.NotFound: 404,
    errors.Unauthenticated: 401,
    errors.Disabled: 403,
    errors.UnknownHost: 421,
    errors.ForeignOrigin: 403,
    errors.NotJson: 415,
    errors.Refused: 400,
    errors.Overloaded: 503,
    errors.ReadTooLong: 503,
    errors.StorageUnavailable: 503,
    errors.Unavailable: 503,
    errors.BadRules: 500,
    errors.NewerDatabase: 500,
    errors.NotADatabase: 500,
    errors.DatabaseLocked: 500,
    errors.PortTaken: 500,
    errors.CannotStart: 500,
    errors.SendFailed: 500,
    errors.SourceUnavailable: 500,
    errors.CheckpointLocked: 500,
    errors.SagascopeError: 500,
}
"""HTTP status of each error. Every leaf of the error tree is listed by name."""

MAX_LISTED_PARAMETERS: int = 10
"""Maximum number of invalid parameters that an error message lists."""

FRAMEWORK_PROBLEMS: Mapping[int, tuple[str, str]] = {
    404: ("no-such-path", "No such path"),
    405: ("wrong-method", "Wrong method"),
    408: ("too-slow", "Too slow"),
    413: ("too-large", "Too large"),
    422: ("bad-value", "Bad value"),
}
"""Kind and title of errors that the web framework raises before a route is reached."""


def register(app: FastAPI) -> None:
    """Registers handlers so that the response to every error raised in a route of `app` is a problem."""
    app.add_exception_handler(errors.SagascopeError, _respond_error)
    app.add_exception_handler(RequestValidationError, _respond_invalid_parameters)
    app.add_exception_handler(HTTPException, _respond_framework_error)
    app.add_exception_handler(Exception, _respond_internal_error)


def status_of(error: errors.SagascopeError) -> int:
    """Returns the HTTP status of an error: that of its class, else of its nearest listed base class."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI description of the problems that a route may respond with."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": schemas.Problem.model_json_schema()}}
    return {status: {"description": _DESCRIPTIONS[status], "content": content} for status in statuses}


_DESCRIPTIONS = {
    403: "Disabled",
    404: "Not found",
    422: "A parameter is unknown or missing, or its value is invalid",
    503: "Temporarily unavailable; a retry may succeed",
}


def _problem_response(
    request: Request, status: int, kind: str, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    type_, path = f"{schemas.PROBLEM_TYPES}{kind}", request.url.path
    problem = schemas.Problem(type=type_, title=title, status=status, detail=detail, instance=path)
    return Response(problem.model_dump_json(), status, headers, PROBLEM_MEDIA_TYPE)


def _respond_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.SagascopeError)  # noqa: S101  registered for this class only
    headers = {"Retry-After": f"{max(1, round(error.retry_after))}"} if isinstance(error, errors.Unavailable) else None
    problem = schemas.Problem.of(error, status_of(error), request.url.path)
    return Response(problem.model_dump_json(), problem.status, headers, PROBLEM_MEDIA_TYPE)


def _respond_invalid_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this class only
    detail = "; ".join(_parameter_error(each) for each in error.errors()[:MAX_LISTED_PARAMETERS])
    return _problem_response(request, 422, *FRAMEWORK_PROBLEMS[422], detail)


def _respond_framework_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this class only
    kind, title = FRAMEWORK_PROBLEMS.get(error.status_code, ("refused", HTTPStatus(error.status_code).phrase))
    detail = {
        404: f"The path {request.url.path} does not exist.",
        405: f"{request.url.path} cannot be called with {request.method}.",
    }.get(error.status_code, error.detail)
    return _problem_response(request, error.status_code, kind, title, detail, error.headers)


def _respond_internal_error(request: Request, error: Exception) -> Response:
    """Responds to an internal error. Its details are in the collector's log and not in the response."""
    detail = f"Internal error ({type(error).__name__}); the log of the collector has the details."
    return _problem_response(request, 500, "fault", "Internal error", detail)


def _parameter_error(error: Mapping[str, Any]) -> str:
    """Returns the part of an error message about one parameter, or the whole body, from an error of pydantic."""
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['ctx']['error']} (at character {error['loc'][1]})"
    _, *path = error["loc"]
    name = repr(str(path[0])) if path else "the body"
    if error["type"] == "extra_forbidden":
        return f"there is no parameter {name}"
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {str(error['msg']).removeprefix('Value error, ')}"


def responds(shape: type[schemas.Wire], *refusals: int) -> dict[str, Any]:
    """Returns the OpenAPI description of a route that responds with `shape`, with the statuses of its errors."""
    return {"response_model": shape, "responses": described(*refusals, 422, 503)}


def json_response(answer: BaseModel | str) -> Response:
    """Returns a response that must not be cached, because the next one may differ."""
    text = answer if isinstance(answer, str) else answer.model_dump_json()
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})


class StreamedResponse(StreamingResponse):
    """A response that is sent while it is generated."""

    def __init__(self, pieces: Iterable[bytes] = (), status_code: int = 200) -> None:
        super().__init__(pieces, status_code, headers={"Cache-Control": "no-store"})


class OtlpJsonLines(StreamedResponse):
    """A response of OTLP in JSON lines."""

    media_type = "application/x-ndjson"


class DatabaseFile(StreamedResponse):
    """A DuckDB database. Its generator, which deletes the copy, is closed at the end, also if the reader leaves."""

    media_type = "application/vnd.duckdb"

    def __init__(self, pieces: Generator[bytes] | tuple[()] = (), status_code: int = 200) -> None:
        super().__init__(pieces, status_code)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._pieces:
                self._pieces.close()
