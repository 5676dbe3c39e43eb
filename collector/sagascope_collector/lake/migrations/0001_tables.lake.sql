-- as in the local file, but that each row has the columns of its origin
CREATE TABLE IF NOT EXISTS spans (
    received_at BIGINT, environment VARCHAR, service VARCHAR, version VARCHAR, identity VARCHAR, instance VARCHAR,
    resource VARCHAR, scope VARCHAR, trace_id BLOB, span_id BLOB, parent_id BLOB, name VARCHAR, kind VARCHAR,
    start UBIGINT, "end" UBIGINT, status VARCHAR, status_message VARCHAR, trace_state VARCHAR, flags UINTEGER,
    dropped_attributes UINTEGER, dropped_events UINTEGER, dropped_links UINTEGER, events VARCHAR, links VARCHAR,
    saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR, saga_role VARCHAR, step_name VARCHAR, step_type VARCHAR,
    step_key VARCHAR, step_attempt BIGINT, attribute_keys VARCHAR, attribute_values VARCHAR
);
CREATE TABLE IF NOT EXISTS logs (
    received_at BIGINT, environment VARCHAR, service VARCHAR, version VARCHAR, identity VARCHAR, instance VARCHAR,
    resource VARCHAR, scope VARCHAR, "at" UBIGINT, "timestamp" UBIGINT, observed_at UBIGINT, severity INTEGER,
    severity_text VARCHAR, body VARCHAR, event_name VARCHAR, trace_id BLOB, span_id BLOB, flags UINTEGER,
    dropped_attributes UINTEGER, saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR, saga_role VARCHAR,
    step_name VARCHAR, step_type VARCHAR, step_key VARCHAR, step_attempt BIGINT, attribute_keys VARCHAR,
    attribute_values VARCHAR
);
CREATE TABLE IF NOT EXISTS linked_spans (
    received_at BIGINT, trace_id BLOB, span_id BLOB, environment VARCHAR, saga_id VARCHAR, saga_name VARCHAR, saga_run VARCHAR,
    saga_role VARCHAR, step_name VARCHAR, step_type VARCHAR, step_key VARCHAR, step_attempt BIGINT
);
-- which commits of a database file are in the lake: a row of the commit that brought them
CREATE TABLE IF NOT EXISTS migrations (database_id VARCHAR, part VARCHAR, last BIGINT)
