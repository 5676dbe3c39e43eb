"""The first wall around queries: what DuckDB's parser made of one is compared, node by node, with what is allowed.

Everything else is refused, what a later DuckDB adds included. The walk answers for what was written; views may use
more than a query may.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from sagascope_collector.errors import BadValue
from sagascope_collector.sql.functions import FUNCTIONS, PATTERNS, TABLE_FUNCTIONS
from sagascope_collector.sql.grammar import EXPRESSIONS, IDENTITIES, KEYS, NODES

VIEWS: Final = ("spans", "logs", "sagas")
"""What may be queried."""

MAX_TABLES: Final = 100
"""Tables that are read, common table expressions taken apart: their number can double from line to line."""

MAX_ALIAS_NODES: Final = 500
"""What an alias may stand for that later columns use: DuckDB writes it out in each, and cannot be interrupted there."""

MAX_WILDCARDS: Final = 4
"""Of one LIKE pattern: each multiplies its time by the length of the text, and DuckDB cannot be interrupted there."""

Node = Mapping[str, Any]
Scope = Mapping[str, int]
"""Common table expressions by name, each with the number of tables that it reads."""

_LEAVES: Final = frozenset({"cast_type", "literal", "qualified_name", "sample", "type_expr", "value_type"})
"""Keys below which nothing is called and nothing is read. So is ``value`` of a constant."""

_DESCRIBED: Final = frozenset({"DESCRIBE", "SUMMARY"})


def check(statements: Sequence[Node]) -> None:
    """Refuses what is not allowed.

    Args:
        statements: as ``json_serialize_sql`` gives them.

    Raises:
        BadValue: naming what is refused.
    """
    if len(statements) != 1:
        raise BadValue(f"This query is refused: it holds {len(statements)} statements, and one SELECT is allowed.")
    _check_number(_tables(statements[0], {}))


def _check_number(tables: int) -> None:
    if tables > MAX_TABLES:
        raise BadValue(
            f"This query is refused: it reads more than {MAX_TABLES} tables, "
            "those of common table expressions counted each time that they are used."
        )


def _not_allowed(what: str) -> NoReturn:
    raise BadValue(f"This query is refused: {what} is not allowed here.")


def _tables(part: Any, scope: Scope) -> int:
    """Returns how many tables are read in a part of a query, which is checked on the way."""
    if isinstance(part, list):
        return sum(_tables(each, scope) for each in part)
    if not isinstance(part, dict):
        return 0
    kind = part.get("type")
    if "class" in part:
        _check_expression(part)
    elif kind == "BASE_TABLE":
        return _table(part, scope)
    elif kind == "TABLE_FUNCTION":
        _check_keys(part)
        _check_keys(part["function"])
        _check_function(part["function"], TABLE_FUNCTIONS)
        return sum(_tables(each, scope) for each in _parts(part["function"]))
    elif isinstance(kind, str):
        _check_node(kind, part)
    _check_keys(part)
    if "select_list" in part:
        _check_aliases(part["select_list"])
    known = _with_expressions(part, scope)
    return (
        _repeated(part, known) if kind == "RECURSIVE_CTE_NODE" else sum(_tables(each, known) for each in _parts(part))
    )


def _check_keys(node: Node) -> None:
    if unknown := next((key for key, value in node.items() if key not in KEYS and not _is_empty(value)), None):
        _not_allowed(f"what the parser calls {unknown}")


def _parts(node: Node) -> Iterator[Any]:
    """Returns what is below a node; common table expressions are counted where they are used."""
    for key, value in node.items():
        is_leaf = key in _LEAVES or (key == "value" and node.get("class") == "CONSTANT")
        if not is_leaf and key != "cte_map":
            yield value


def _is_empty(value: Any) -> bool:
    """Whether a key says nothing: numbers are places in the text."""
    return value in (None, "", [], {}, False) or (isinstance(value, int) and value is not True)


def _with_expressions(node: Node, scope: Scope) -> Scope:
    """Returns the common table expressions that are known below a node: each to those after it, and not to itself."""
    known = dict(scope)
    for each in (node.get("cte_map") or {}).get("map", ()):
        known[each["key"].lower()] = tables = _tables(each["value"], known)
        _check_number(tables)
    return known


def _repeated(node: Node, scope: Scope) -> int:
    """Returns the tables of a recursive expression: its name is known in the part that is repeated only."""
    first = _tables(node["left"], scope)
    again = _tables(node["right"], {**scope, node["cte_name"].lower(): first + 1})
    rest = {key: value for key, value in node.items() if key not in ("left", "right", "cte_map")}
    return first + again + sum(_tables(each, scope) for each in rest.values())


def _table(node: Node, scope: Scope) -> int:
    name = str(node["table_name"])
    path = [*(node.get("qualified_name") or {}).get("path", ())]
    qualifiers = {str(each) for each in (node.get("catalog_name"), node.get("schema_name"), *path[:-1]) if each}
    _check_keys(node)
    if node.get("at_clause"):
        _not_allowed("AT")
    if qualifiers - {"main"}:
        _not_allowed(f"the table {'.'.join([*sorted(qualifiers), name])}")
    if name.lower() in scope and not qualifiers:
        return scope[name.lower()]
    if name.lower() not in VIEWS:
        raise BadValue(f"This query is refused: {name!r} is not one of spans, logs and sagas.")
    return 1


def _check_aliases(columns: Sequence[Node]) -> None:
    nodes: dict[str, int] = {}
    for each in columns:
        number = _nodes(each, nodes)
        if number > MAX_ALIAS_NODES and nodes:
            raise BadValue("This query is refused: columns that are computed of columns beside them grow too large.")
        if alias := each.get("alias"):
            nodes[str(alias).lower()] = number


def _nodes(part: Any, aliases: Mapping[str, int]) -> int:
    """Returns how many nodes a part of a query has when the aliases in it are written out."""
    if isinstance(part, list):
        return sum(_nodes(each, aliases) for each in part)
    if not isinstance(part, dict):
        return 0
    if part.get("class") == "COLUMN_REF":
        return aliases.get(str(part["column_names"][-1]).lower(), 1)
    return 1 + sum(_nodes(each, aliases) for each in _parts(part))


def _check_node(kind: str, node: Node) -> None:
    if kind == "SHOW_REF":
        if node.get("show_type") not in _DESCRIBED or not node.get("query"):
            _not_allowed("SHOW")
    elif kind not in NODES:
        _not_allowed(kind.replace("_", " "))


def _check_expression(node: Node) -> None:
    kind = node["class"]
    if kind == "PARAMETER":
        _not_allowed("a parameter such as $1 or ?")
    if kind not in EXPRESSIONS:
        _not_allowed(kind.replace("_", " "))
    if kind in ("FUNCTION", "WINDOW"):
        _check_function(node, FUNCTIONS)
    if kind == "COLUMN_REF" and (names := node["column_names"]) and names[0].lower() in IDENTITIES:
        _not_allowed(names[0])


def _check_function(node: Node, allowed: frozenset[str]) -> None:
    name = str(node["function_name"]).lower()
    path = [*(node.get("qualified_name") or {}).get("path", ())]
    qualifiers = {str(each) for each in (node.get("catalog"), node.get("schema"), *path[:-1]) if each}
    if qualifiers - {"main"}:
        _not_allowed(f"the function {'.'.join([*sorted(qualifiers), name])}, qualified or written as a method,")
    if name not in allowed:
        _not_allowed(f"the function {name}")
    if name in PATTERNS and not _is_short_pattern(node):
        _not_allowed(
            f"a LIKE pattern that is no constant or has more than {MAX_WILDCARDS} wildcards (use regexp_matches)"
        )


def _is_short_pattern(node: Node) -> bool:
    arguments = [each["expression"] for each in node.get("arguments") or ()] or [*node.get("children", ())]
    if len(arguments) < 2 or arguments[1].get("class") != "CONSTANT":
        return False
    spelt = arguments[1].get("literal") or arguments[1]["value"]
    return str(spelt.get("text", spelt.get("value"))).count("%") <= MAX_WILDCARDS
