-- What people query. Column names are part of the contract: add, never rename.

-- nanoseconds since 1970 as a timestamp, UTC; NULL where it was not said
CREATE MACRO utc(nanoseconds) AS make_timestamp(nullif(nanoseconds, 0)::BIGINT // 1000);

-- what JSON cannot say is stored marked, and shown as the HTTP API shows it
-- (in a lambda: DuckDB would bind the text, which nested macros make long, at each place where it is named)
CREATE MACRO shown_json(text) AS
    list_transform([text], lambda stored: CASE
        WHEN NOT contains(stored, '{"$') THEN stored
        ELSE regexp_replace(
            regexp_replace(stored, '\{"\$double":("[^"]*")\}', '\1', 'g'), '\{"\$bytes":("[^"]*")\}', '{"base64":\1}', 'g'
        )
    END)[1];

-- a text as it is, anything else as JSON
CREATE MACRO body_text(body) AS
    CASE WHEN starts_with(body, '"') THEN json_extract_string(body, '$') ELSE nullif(body, 'null') END;

-- [[key, value], ...] as an object
CREATE MACRO pairs_object(pairs) AS
    '{' || array_to_string(
        list_transform(pairs, lambda pair: json_extract(pair, '$[0]')::VARCHAR || ':' || coalesce(json_extract(pair, '$[1]')::VARCHAR, 'null')), ','
    ) || '}';

-- attributes as an object: `promoted` are the values that columns hold, as JSON
CREATE MACRO attributes_object(keys, attribute_values, promoted) AS
    shown_json('{' || array_to_string(
        list_concat(
            list_transform(
                list_filter(from_json(keys, '["JSON"]'), lambda key: json_type(key) <> 'VARCHAR'),
                lambda key: to_json([
                    'saga.id', 'saga.name', 'saga.run.id', 'saga.role', 'saga.step.name', 'saga.step.type',
                    'saga.step.key', 'saga.step.attempt'
                ][key::INTEGER + 1])::VARCHAR || ':' || promoted[key::INTEGER + 1]::VARCHAR
            ),
            list_transform(
                list_zip(
                    list_filter(from_json(keys, '["JSON"]'), lambda key: json_type(key) = 'VARCHAR'),
                    from_json(attribute_values, '["JSON"]')
                ),
                lambda pair: pair[1]::VARCHAR || ':' || coalesce(pair[2]::VARCHAR, 'null')
            )
        ), ','
    ) || '}')::JSON;

CREATE MACRO events_list(events) AS
    CASE WHEN events = '' THEN '[]' ELSE shown_json('[' || array_to_string(
        list_transform(from_json(events, '["JSON"]'), lambda event:
            '{"name":' || json_extract(event, '$[0]')::VARCHAR
            || ',"at":' || coalesce('"' || strftime(utc(json_extract(event, '$[1]')::UBIGINT), '%Y-%m-%dT%H:%M:%S.%fZ') || '"', 'null')
            || ',"attributes":' || pairs_object(from_json(json_extract(event, '$[2]'), '["JSON"]')) || '}'
        ), ','
    ) || ']') END::JSON;

CREATE MACRO links_list(links) AS
    CASE WHEN links = '' THEN '[]' ELSE shown_json('[' || array_to_string(
        list_transform(from_json(links, '["JSON"]'), lambda link:
            '{"trace_id":' || json_extract(link, '$[0]')::VARCHAR || ',"span_id":' || json_extract(link, '$[1]')::VARCHAR
            || ',"attributes":' || pairs_object(from_json(json_extract(link, '$[2]'), '["JSON"]')) || '}'
        ), ','
    ) || ']') END::JSON;

-- a table macro: here resources are put together once for each origin, and not for each record
CREATE MACRO shown_origins() AS TABLE
    SELECT
        origin_id,
        environment,
        service,
        version,
        instance,
        shown_json(pairs_object(from_json(json_extract(resource, '$[0]'), '["JSON"]')))::JSON AS resource,
        json_extract_string(scope, '$[0]') AS scope
    FROM origins;

CREATE VIEW spans AS
SELECT
    utc(received_at) AS received_at,
    environment,
    nullif(saga_name, '') AS saga_name,
    nullif(saga_id, '') AS saga_id,
    nullif(saga_run, '') AS run_id,
    nullif(saga_role, '') AS role,
    nullif(step_name, '') AS step,
    nullif(step_type, '') AS step_type,
    nullif(step_key, '') AS step_key,
    nullif(step_attempt, 0) AS attempt,
    lower(hex(trace_id)) AS trace_id,
    lower(hex(span_id)) AS span_id,
    nullif(lower(hex(parent_id)), '') AS parent_id,
    name,
    kind,
    utc(start) AS started_at,
    utc("end") AS ended_at,
    CASE WHEN "end" >= start AND "end" > 0 THEN ("end" - start) / 1e9 END AS duration_seconds,
    service,
    nullif(instance, '') AS instance,
    nullif(version, '') AS version,
    status,
    nullif(status_message, '') AS status_message,
    attributes_object(attribute_keys, attribute_values, [
        to_json(saga_id), to_json(saga_name), to_json(saga_run), to_json(saga_role), to_json(step_name),
        to_json(step_type), to_json(step_key), to_json(step_attempt)
    ]) AS attributes,
    resource,
    scope,
    events_list(events) AS events,
    links_list(links) AS links
FROM (FROM span_records UNION ALL FROM long_running_spans)
JOIN shown_origins() USING (origin_id);

CREATE VIEW logs AS
SELECT
    utc(received_at) AS received_at,
    environment,
    nullif(saga_name, '') AS saga_name,
    nullif(saga_id, '') AS saga_id,
    nullif(saga_run, '') AS run_id,
    nullif(saga_role, '') AS role,
    nullif(step_name, '') AS step,
    nullif(step_type, '') AS step_type,
    nullif(step_key, '') AS step_key,
    nullif(step_attempt, 0) AS attempt,
    nullif(lower(hex(trace_id)), '') AS trace_id,
    nullif(lower(hex(span_id)), '') AS span_id,
    utc("at") AS "at",
    severity,
    nullif(severity_text, '') AS severity_text,
    nullif(event_name, '') AS event_name,
    body_text(shown_json(body)) AS body,
    service,
    nullif(instance, '') AS instance,
    nullif(version, '') AS version,
    attributes_object(attribute_keys, attribute_values, [
        to_json(saga_id), to_json(saga_name), to_json(saga_run), to_json(saga_role), to_json(step_name),
        to_json(step_type), to_json(step_key), to_json(step_attempt)
    ]) AS attributes,
    resource,
    scope
FROM (FROM log_records UNION ALL FROM long_running_logs)
JOIN shown_origins() USING (origin_id);

CREATE VIEW sagas AS
SELECT
    id,
    name,
    nullif(run, '') AS run,
    environment,
    status,
    attention,
    json_extract_string(document, '$.phase') AS phase,
    step,
    service,
    json_extract_string(document, '$.since')::TIMESTAMP AS since,
    utc(started_at) AS started_at,
    utc(updated_at) AS updated_at,
    utc(ended_at) AS ended_at,
    (coalesce(ended_at, updated_at) - started_at) / 1e9 AS duration_seconds,
    json_extract(document, '$.attempts')::INTEGER AS attempts,
    json_extract_string(document, '$.error.type') AS error_type,
    json_extract_string(document, '$.error.message') AS error_message,
    json_extract(document, '$.amount_at_risk') AS amount_at_risk,
    keys::JSON AS keys,
    steps::JSON AS steps,
    services::JSON AS services,
    json_extract_string(document, '$.headline') AS headline,
    json_extract_string(document, '$.customer_line') AS customer_line
FROM (FROM open_sagas UNION ALL SELECT * EXCLUDE (batch) FROM ended_sagas);
