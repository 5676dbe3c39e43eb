"""docs/http-api.md says what the API does."""

import httpx

from sagascope_collector.client import schemas
from support import documents


def test_the_document_lists_every_call_parameter_and_field(http: httpx.Client) -> None:
    openapi = http.get("/api/v1/openapi.json").json()
    parts = {path: documents.parameters(openapi, path) for path in openapi["paths"]}
    documents.compare("http-api.md", parts | {"shapes": documents.shapes(openapi)})


def test_every_call_has_its_heading(http: httpx.Client) -> None:
    text = (documents.ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    headings = {line.split()[2] for line in text.splitlines() if line.startswith(("### GET ", "### POST "))}
    assert headings == set(http.get("/api/v1/openapi.json").json()["paths"])


def test_every_shape_is_documented(http: httpx.Client) -> None:
    reached = documents.reached(http.get("/api/v1/openapi.json").json())
    known = {each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, schemas.Wire)}
    assert set(reached) == known - {schemas.Wire}
