"""The functions that queries may call. Others are refused: DuckDB has some that read files or settings."""

from typing import Final


def names(text: str) -> frozenset[str]:
    """Returns the words of a text."""
    return frozenset(text.split())


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
"""Those that answer a value."""

TABLE_FUNCTIONS: Final = names("generate_series json_each json_tree range unnest")
"""Those that stand where a table may."""

PATTERNS: Final = names("~~ !~~ ~~* !~~* like_escape not_like_escape ilike_escape not_ilike_escape")
"""LIKE and its kin."""
