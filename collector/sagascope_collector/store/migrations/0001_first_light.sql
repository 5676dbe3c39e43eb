CREATE TABLE spans (
    key BLOB PRIMARY KEY,
    seq UBIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_id BLOB NOT NULL,
    name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    start UBIGINT NOT NULL,
    "end" UBIGINT NOT NULL,
    status VARCHAR NOT NULL,
    status_message VARCHAR NOT NULL,
    trace_state VARCHAR NOT NULL,
    flags UINTEGER NOT NULL,
    dropped_attributes UINTEGER NOT NULL,
    dropped_events UINTEGER NOT NULL,
    dropped_links UINTEGER NOT NULL,
    events VARCHAR NOT NULL,
    links VARCHAR NOT NULL,
    saga_id VARCHAR NOT NULL,
    saga_name VARCHAR NOT NULL,
    saga_run VARCHAR NOT NULL,
    saga_role VARCHAR NOT NULL,
    step_name VARCHAR NOT NULL,
    step_type VARCHAR NOT NULL,
    step_key VARCHAR NOT NULL,
    step_attempt BIGINT NOT NULL,
    attribute_keys VARCHAR NOT NULL,
    attribute_values VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    identity VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    resource VARCHAR NOT NULL,
    scope VARCHAR NOT NULL
);

CREATE TABLE logs (
    key BLOB PRIMARY KEY,
    seq UBIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    "at" UBIGINT NOT NULL,
    "timestamp" UBIGINT NOT NULL,
    observed_at UBIGINT NOT NULL,
    severity INTEGER NOT NULL,
    severity_text VARCHAR NOT NULL,
    body VARCHAR NOT NULL,
    event_name VARCHAR NOT NULL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    flags UINTEGER NOT NULL,
    dropped_attributes UINTEGER NOT NULL,
    saga_id VARCHAR NOT NULL,
    saga_name VARCHAR NOT NULL,
    saga_run VARCHAR NOT NULL,
    saga_role VARCHAR NOT NULL,
    step_name VARCHAR NOT NULL,
    step_type VARCHAR NOT NULL,
    step_key VARCHAR NOT NULL,
    step_attempt BIGINT NOT NULL,
    attribute_keys VARCHAR NOT NULL,
    attribute_values VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    identity VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    resource VARCHAR NOT NULL,
    scope VARCHAR NOT NULL
);

CREATE TABLE span_links (
    key BLOB PRIMARY KEY,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    environment VARCHAR NOT NULL,
    saga_id VARCHAR NOT NULL,
    saga_name VARCHAR NOT NULL,
    saga_run VARCHAR NOT NULL,
    saga_role VARCHAR NOT NULL,
    step_name VARCHAR NOT NULL,
    step_type VARCHAR NOT NULL,
    step_key VARCHAR NOT NULL,
    step_attempt BIGINT NOT NULL
);

-- one row a process; `beat_*` is its latest heartbeat
CREATE TABLE instances (
    environment VARCHAR,
    service VARCHAR,
    identity VARCHAR,
    version VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    first_seen UBIGINT NOT NULL,
    last_seen UBIGINT NOT NULL,
    beat_at UBIGINT,
    beat_interval DOUBLE,
    beat_sequence BIGINT,
    beat_open_spans VARCHAR,
    beat_parts INTEGER,
    beat_dropped BIGINT,
    beat_final BOOLEAN,
    parts_seen VARCHAR NOT NULL,
    past VARCHAR NOT NULL,
    PRIMARY KEY (environment, service, identity)
);

-- saga ids with facts newer than their summaries; a row leaves when a summary has seen it
CREATE TABLE pending (
    environment VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    seq UBIGINT NOT NULL
);

CREATE TABLE sagas (
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    attention VARCHAR,
    step VARCHAR,
    service VARCHAR,
    steps VARCHAR NOT NULL,
    services VARCHAR NOT NULL,
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT,
    due_at BIGINT,
    keys VARCHAR NOT NULL,
    document VARCHAR NOT NULL
);

-- the service that ran a step last
CREATE TABLE runners (
    name VARCHAR,
    step VARCHAR,
    service VARCHAR NOT NULL,
    PRIMARY KEY (name, step)
);

CREATE TABLE counters (
    seq UBIGINT NOT NULL,
    received UBIGINT NOT NULL,
    stored UBIGINT NOT NULL,
    rejected UBIGINT NOT NULL,
    duplicate UBIGINT NOT NULL
);

INSERT INTO counters VALUES (0, 0, 0, 0, 0);

-- when senders were refused
CREATE TABLE deafness (
    deaf_from BIGINT PRIMARY KEY,
    deaf_until BIGINT NOT NULL
);

CREATE TABLE collector_runs (
    started_at BIGINT NOT NULL,
    alive_at BIGINT NOT NULL,
    stopped_at BIGINT
);
