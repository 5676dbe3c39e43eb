"""The parts of a parsed query that are known, as DuckDB 1.5 and 2.0 name them. What is not listed is refused."""

from typing import Final

from sagascope_collector.sql.functions import names

NODES: Final = names(
    """
    ASCENDING DESCENDING DISTINCT_MODIFIER EMPTY EXPRESSION_LIST JOIN LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER
    ORDER_DEFAULT ORDER_MODIFIER RECURSIVE_CTE_NODE SELECT_NODE SET_OPERATION_NODE SUBQUERY
    """
)
"""Parts of a query; tables, table functions and DESCRIBE are checked apart."""

EXPRESSIONS: Final = names(
    """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR
    POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW
    """
)
"""Of them LAMBDA is how ``->`` of JSON is parsed; functions that take a lambda are not listed."""

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
"""Keys of nodes that are understood. Others must be empty."""

IDENTITIES: Final = names(
    """
    current_catalog current_database current_role current_schema current_user session_user
    """
)
"""Words that name no column and are answered from settings."""
