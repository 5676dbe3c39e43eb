"""The first protection against harmful queries: an allow list for each node of the parse tree that DuckDB returns.

Everything else is refused, including what a later DuckDB adds. The check covers the query's own text; the views may use
more than a query may.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from sagascope_collector.errors import BadValue


def names(text: str) -> frozenset[str]:
    """Returns the words of a text."""
    return frozenset(text.split())


NODES: Final = names(
    """
    ASCENDING DESCENDING DISTINCT_MODIFIER EMPTY EXPRESSION_LIST JOIN LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER
    ORDER_DEFAULT ORDER_MODIFIER RECURSIVE_CTE_NODE SELECT_NODE SET_OPERATION_NODE SUBQUERY
    """
)
"""Allowed nodes of a query; tables, table functions and DESCRIBE are checked separately."""

EXPRESSIONS: Final = names(
    """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR
    POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW
    """
)
"""Allowed expressions. LAMBDA is how ``->`` of JSON is parsed; functions that take a lambda are not allowed."""

KEYS: Final = names(
    """
    aggregate_handling alias aliases arg_orders arguments at_clause case_checks cast_type catalog catalog_name
    child children class collation column_name_alias column_names columns comparison_type condition cte_map
    cte_name default_expr delim_flipped distinct distinct_on_targets duplicate_eliminated_columns else_expr end
    end_expr exclude_clause exclude_list expected_names expected_types export_state expr expression filter
    filter_expr from_table function function_name group_expressions group_sets having identifier ignore_nulls
    index input is_implicit is_legacy_function_call is_operator join_type key key_targets left lhs limit
    limit_type literal lower map materialized modifiers name named_param_map nearest_approx nearest_count
    nearest_order_type node null_order offset offset_expr order_bys orders partitions payload_aggregates
    qualified_exclude_list qualified_name qualify query query_location query_location_length query_node
    ranking_expression ref_type relation_name rename_list replace_list right sample schema schema_name
    select_list setop_all setop_allow_merge setop_type show_type start start_expr subquery subquery_type
    syntax_type table_name then_expr try_cast type type_expr union_all upper using_columns value values
    when_expr where_clause with_ordinality
    """
)
"""Known keys of nodes. Others must be empty."""

IDENTITIES: Final = names(
    """
    current_catalog current_database current_role current_schema current_user session_user
    """
)
"""Words that are not columns and are resolved from settings."""


OPERATORS: Final = names("+ - * / // % ^ ** || & | << >> ~ ! @ ^@ && @> <@ <-> -> ->> ~~ !~~ ~~* !~~*")

AGGREGATES: Final = names(
    """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min arg_min_null
    array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp
    entropy favg first fsum geomean geometric_mean group_concat grouping grouping_id histogram kurtosis last list
    listagg mad max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_avgx
    regr_avgy regr_count regr_intercept regr_r2 regr_slope reservoir_quantile sem skewness stddev stddev_pop
    stddev_samp string_agg sum sumkahan kahan_sum sum_no_overflow var_pop var_samp variance weighted_avg wavg
    """
)

WINDOWS: Final = names(
    "cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number"
)

NUMBERS: Final = names(
    """
    abs acos add asin atan atan2 cbrt ceil ceiling cos cot degrees divide even exp fdiv floor fmod gamma gcd
    greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple lgamma ln log log10 log2
    mod multiply nextafter pi pow power radians round round_even roundbankers sign signbit sin sqrt subtract tan
    trunc xor bit_count
    """
)

STRINGS: Final = names(
    """
    array_extract array_slice ascii base64 bin char_length character_length chr concat concat_ws contains decode
    ends_with encode from_base64 from_hex hash hex instr lcase left left_grapheme length length_grapheme lower
    ltrim md5 nfc_normalize octet_length ord overlay parse_dirname parse_filename parse_path position prefix
    regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
    regexp_split_to_array replace reverse right right_grapheme rtrim sha1 sha256 split split_part starts_with
    str_split str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos substr
    substring substring_grapheme suffix to_base64 to_hex translate trim ucase unhex unicode upper url_decode
    url_encode
    """
)

DATE_TIME: Final = names(
    """
    age century current_date current_timestamp date_add date_diff date_part date_sub date_trunc datediff datepart
    datesub datetrunc day dayname dayofmonth dayofweek dayofyear decade epoch epoch_ms epoch_ns epoch_us era
    get_current_time get_current_timestamp hour isodow isoyear last_day localtime localtimestamp make_date make_time
    make_timestamp make_timestamp_ms make_timestamp_ns microsecond millennium millisecond minute month monthname
    nanosecond now quarter second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries
    to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters
    to_seconds to_timestamp to_weeks to_years today transaction_timestamp try_strptime week weekday weekofyear year
    yearweek
    """
)

JSON: Final = names(
    """
    array_to_json from_json from_json_strict json json_array json_array_length json_contains json_exists json_extract
    json_extract_path json_extract_path_text json_extract_string json_group_array json_group_object
    json_group_structure json_keys json_merge_patch json_object json_quote json_structure json_transform
    json_transform_strict json_type json_valid json_value row_to_json to_json
    """
)

NESTED: Final = names(
    """
    array_contains array_has array_has_all array_has_any array_length cardinality element_at flatten len list_any_value
    list_append list_avg list_concat list_contains list_count list_distinct list_element list_extract list_first
    list_has list_has_all list_has_any list_indexof list_intersect list_last list_max list_median list_min list_mode
    list_pack list_position list_prepend list_product list_reverse list_reverse_sort list_select list_slice list_sort
    list_string_agg list_sum list_unique list_value list_where list_zip map map_concat map_contains map_entries
    map_extract map_extract_value map_from_entries map_keys map_values array_value row struct_concat struct_extract
    struct_insert struct_pack union_extract union_tag union_value unnest array_to_string
    """
)

OTHERS: Final = names("alias coalesce constant_or_null gen_random_uuid if ifnull nullif random try_cast typeof uuid")

FUNCTIONS: Final = OPERATORS | AGGREGATES | WINDOWS | NUMBERS | STRINGS | DATE_TIME | JSON | NESTED | OTHERS
"""Allowed scalar, aggregate and window functions."""

TABLE_FUNCTIONS: Final = names("generate_series json_each json_tree range unnest")
"""Allowed table functions."""

PATTERNS: Final = names("~~ !~~ ~~* !~~* like_escape not_like_escape ilike_escape not_ilike_escape")
"""Functions of LIKE and its variants."""


VIEWS: Final = ("spans", "logs", "sagas")
"""The views that a query may read."""

MAX_TABLES: Final = 100
"""Maximum number of tables read, with common table expressions expanded: their number can double with each."""

MAX_ALIAS_NODES: Final = 500
"""Maximum size of an alias that later columns use: DuckDB expands it in each, and cannot be interrupted there."""

MAX_WILDCARDS: Final = 4
"""Maximum number in one LIKE pattern: each multiplies the time by the text's length, without interruption."""

Node = Mapping[str, Any]
Scope = Mapping[str, int]
"""Common table expressions by name, each with the number of tables that it reads."""

_LEAVES: Final = frozenset({"cast_type", "literal", "qualified_name", "sample", "type_expr", "value_type"})
"""Keys below which nothing is called or read. The same holds for ``value`` of a constant."""

_DESCRIBED: Final = frozenset({"DESCRIBE", "SUMMARY"})


def check(statements: Sequence[Node]) -> None:
    """Checks a query.

    Args:
        statements: the output of ``json_serialize_sql``.

    Raises:
        BadValue: the query has a part that is not allowed; the message names it.
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
    """Checks a part of a query; returns the number of tables that it reads."""
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
    """Yields the parts below a node; common table expressions are counted where they are used."""
    for key, value in node.items():
        is_leaf = key in _LEAVES or (key == "value" and node.get("class") == "CONSTANT")
        if not is_leaf and key != "cte_map":
            yield value


def _is_empty(value: Any) -> bool:
    """Returns whether a value is empty. Numbers are positions in the text and count as empty."""
    return value in (None, "", [], {}, False) or (isinstance(value, int) and value is not True)


def _with_expressions(node: Node, scope: Scope) -> Scope:
    """Returns the common table expressions visible below a node. Each is visible to later ones, and not to itself."""
    known = dict(scope)
    for each in (node.get("cte_map") or {}).get("map", ()):
        known[each["key"].lower()] = tables = _tables(each["value"], known)
        _check_number(tables)
    return known


def _repeated(node: Node, scope: Scope) -> int:
    """Returns the number of tables of a recursive expression, whose name is visible in its repeated part only."""
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
    """Returns the number of nodes of a part of a query with its aliases expanded."""
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
            f"a LIKE pattern that is not a constant or has more than {MAX_WILDCARDS} wildcards (use regexp_matches)"
        )


def _is_short_pattern(node: Node) -> bool:
    arguments = [each["expression"] for each in node.get("arguments") or ()] or [*node.get("children", ())]
    if len(arguments) < 2 or arguments[1].get("class") != "CONSTANT":
        return False
    spelt = arguments[1].get("literal") or arguments[1]["value"]
    return str(spelt.get("text", spelt.get("value"))).count("%") <= MAX_WILDCARDS
