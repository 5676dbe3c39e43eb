"""The parts of documents that are made from the code, between ``<!-- made: NAME -->`` and ``<!-- end -->``."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from typer import Typer
from typer.testing import CliRunner

from sagascope_collector.__main__ import COMMANDS, build
from sagascope_collector.client import schemas

ROOT = Path(__file__).parents[2]
WRITE = "SAGASCOPE_WRITE_DOCS"
"""Set in the environment, the documents are written anew instead of compared."""


def compare(document: str, parts: dict[str, str]) -> None:
    """Hold each made part of a document against the code, or write it."""
    path = ROOT / "docs" / document
    text = path.read_text(encoding="utf-8")
    made = re.sub(
        r"<!-- made: (\S+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- made: {found[1]} -->\n\n{parts[found[1]].strip()}\n\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )
    if WRITE in os.environ:
        path.write_text(made, encoding="utf-8")
    marked = set(re.findall(r"<!-- made: (\S+) -->", text))
    missing = [f"<!-- made: {name} --> and <!-- end -->" for name in sorted(set(parts) - marked)]
    assert not missing, f"docs/{document} needs a section with {', '.join(missing)}; then run this test with {WRITE}=1"
    assert marked == set(parts), f"docs/{document} describes what is gone: {marked - set(parts)}"
    assert text.count("<!-- end -->") == len(parts), f"docs/{document} has an end without a beginning"
    assert text == made or WRITE in os.environ, f"docs/{document} is out of date; run this test with {WRITE}=1"


def reached(openapi: dict[str, Any]) -> list[type[schemas.Wire]]:
    """The shapes that calls answer with, each before those in it; that of errors comes last."""
    found: dict[str, None] = {}

    def visit(part: Any) -> None:
        for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(part)):
            if name not in found:
                found[name] = None
                visit(openapi["components"]["schemas"][name])

    for calls in openapi["paths"].values():
        for call in calls.values():
            visit(call["responses"]["200"])
    known = (getattr(schemas, name, object) for name in found)
    return [*(each for each in known if issubclass(each, schemas.Wire)), schemas.Problem]


def shapes(openapi: dict[str, Any]) -> str:
    """Every shape with its fields."""
    all_ = reached(openapi)
    return "\n\n".join(_shape(each, all_) for each in all_)


def _shape(shape: type[schemas.Wire], all_: Sequence[type[schemas.Wire]]) -> str:
    schema = shape.model_json_schema()
    above = next((each for each in all_ if each in shape.__mro__[1:]), None)
    inherited = above.model_fields if above else {}
    rows = [f"| `{name}` | {_type(told)} |" for name, told in schema["properties"].items() if name not in inherited]
    about = " ".join((shape.__doc__ or "").split()).replace("``", "`")
    more = f" Everything of `{above.__name__}`, and:" if above else ""
    return "\n".join([f"### {shape.__name__}", "", about + more, "", "| field | value |", "|---|---|", *rows])


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _codes(schemas.AttentionCode) if name == "AttentionCode" else _link(name)
    if "enum" in schema:
        return _codes(schema["enum"])
    if "const" in schema:
        return _codes([schema["const"]])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"({', '.join(map(_type, schema['prefixItems']))})"
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object":
            return "object"
        case "string" if schema.get("format") == "date-time":
            return "time"
        case str(name):
            return name
    return "any JSON value"


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in values)


def parameters(openapi: dict[str, Any], path: str) -> str:
    """The parameters of one call."""
    calls = openapi["paths"][path]
    if "get" not in calls:
        return _body(openapi, calls["post"])
    told = calls["get"].get("parameters", [])
    rows = [f"| `{each['name']}` | {_value(each)} |" for each in told]
    return "\n".join(["| parameter | value |", "|---|---|", *rows]) if rows else "It takes no parameter."


def _body(openapi: dict[str, Any], call: dict[str, Any]) -> str:
    """The fields of the JSON object that a call takes."""
    reference = call["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    shape = openapi["components"]["schemas"][reference.rpartition("/")[2]]
    required = shape.get("required", [])
    fields = [
        {"name": name, "schema": told, "required": name in required} for name, told in shape["properties"].items()
    ]
    return "\n".join(["| field | value |", "|---|---|", *(f"| `{each['name']}` | {_value(each)} |" for each in fields)])


def _value(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    value = _type(schema).removesuffix(" or null")
    if "maximum" in schema and "minimum" in schema:
        value += f" from {schema['minimum']:g} to {schema['maximum']:,g}; {schema['default']} unless given"
    return f"{value}, required" if parameter["required"] else value


def command_help(name: str | None = None) -> str:
    """What ``sagascope NAME --help`` prints on 80 columns; a command of a group is named ``GROUP-NAME``."""
    words = [*name.split("-"), "--help"] if name else ["--help"]
    environment = {
        "COLUMNS": "80",
        "TERM": "dumb",
        **{each: None for each in os.environ if each.startswith("SAGASCOPE_")},
    }
    printed = CliRunner().invoke(build(words[:-1][:1]), words, prog_name="sagascope", env=environment)
    assert printed.exit_code == 0, printed.output
    return f"```text\n{printed.output.strip()}\n```"


def every_command() -> list[str]:
    """The commands that are there, and those of their groups."""
    functions = {name: getattr(import_module(each.module), each.function or name) for name, each in COMMANDS.items()}
    grouped = [
        f"{name}-{each.name or getattr(each.callback, '__name__', '')}"
        for name, group in functions.items()
        if isinstance(group, Typer)
        for each in group.registered_commands
    ]
    return [*COMMANDS, *grouped]
