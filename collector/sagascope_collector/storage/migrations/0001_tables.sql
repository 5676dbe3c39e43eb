-- Every row of a commit carries its number, `seq`. Rows lie in the order of their commits, so DuckDB prunes by it: the
-- table of a saga's summary knows between which commits its records lie (`bounds`). See docs/adr/0011.
-- Times are nanoseconds since 1970, UTC. '' and 0 mean: not said.

-- what all records of one scope of one process share
CREATE TABLE origins (
    origin_id UINTEGER NOT NULL,
    environment VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    identity VARCHAR NOT NULL,
    instance VARCHAR NOT NULL,
    resource VARCHAR NOT NULL,
    scope VARCHAR NOT NULL
);

CREATE TABLE span_records (
    seq UBIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    origin_id UINTEGER NOT NULL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_id BLOB NOT NULL,
    name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    start UBIGINT NOT NULL,
    "end" UBIGINT NOT NULL,
    status VARCHAR NOT NULL,
    status_message VARCHAR NOT NULL,
    -- [trace state, flags, dropped attributes, dropped events, dropped links] where any of them is set
    extras VARCHAR NOT NULL,
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
    -- a number n among the keys stands for the attribute that the n-th of the eight columns above holds
    attribute_keys VARCHAR NOT NULL,
    attribute_values VARCHAR NOT NULL
);

CREATE TABLE log_records (
    seq UBIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    origin_id UINTEGER NOT NULL,
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
    attribute_values VARCHAR NOT NULL
);

-- records of sagas that go on for long: kept together, else each look at one would touch the whole history. Their `seq`
-- is the number of the move that put them here
CREATE TABLE long_running_spans AS FROM span_records LIMIT 0;
CREATE TABLE long_running_logs AS FROM log_records LIMIT 0;

-- spans whose links make them part of further sagas, such as those of a batch consumer
CREATE TABLE linked_spans (
    seq UBIGINT NOT NULL,
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

-- one row a commit, until `state` and `instances` hold what it says
CREATE TABLE commits (
    seq UBIGINT NOT NULL,
    received BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    duplicate BIGINT NOT NULL,
    -- what the records say of the processes that sent them, as JSON
    observations VARCHAR NOT NULL
);

-- one row: everything up to the commit `seq` is counted in it
CREATE TABLE state (
    seq UBIGINT NOT NULL,
    received BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    duplicate BIGINT NOT NULL,
    -- step statistics hold every span up to this commit
    counted_seq UBIGINT NOT NULL,
    -- everything has been moved to `long_running_*` up to this number
    moves UBIGINT NOT NULL,
    database_id VARCHAR NOT NULL,
    -- whether the last collector stopped cleanly: then nothing may be missing
    is_clean BOOLEAN NOT NULL
);

INSERT INTO state VALUES (0, 0, 0, 0, 0, 0, 0, uuid()::VARCHAR, TRUE);

-- sagas with records newer than their summaries, as of `state.seq`; `bounds` are those of these records
CREATE TABLE changed_sagas (
    environment VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    bounds VARCHAR NOT NULL
);

-- one row a process; `document` is a `KnownInstance` as JSON
CREATE TABLE instances (
    environment VARCHAR,
    service VARCHAR,
    identity VARCHAR,
    document VARCHAR NOT NULL,
    PRIMARY KEY (environment, service, identity)
);

-- summaries of sagas that ended a while ago and need no attention: appended, and deleted when they expire or when records
-- come after all. One `batch` is what was moved here together
CREATE TABLE ended_sagas (
    batch UBIGINT NOT NULL,
    id_hash UBIGINT NOT NULL,
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
    -- long texts that are much alike: a third of what they take otherwise
    document VARCHAR NOT NULL USING COMPRESSION zstd,
    bounds VARCHAR NOT NULL
);

-- summaries of all others: few, and written all the time
CREATE TABLE open_sagas AS SELECT * EXCLUDE (batch) FROM ended_sagas LIMIT 0;

-- finds an ended saga by its id or by the value of a business key. Sorted by `term_hash`, a million rows at a time
CREATE TABLE ended_terms (
    term_hash UBIGINT NOT NULL,
    batch UBIGINT NOT NULL
);
CREATE TABLE recent_ended_terms AS FROM ended_terms LIMIT 0;

-- how many sagas have ended, by type
CREATE TABLE ended_counts (
    environment VARCHAR,
    name VARCHAR,
    status VARCHAR,
    sagas BIGINT NOT NULL,
    PRIMARY KEY (environment, name, status)
);

-- sagas that were deleted because of their age, or to make room: half of a hash of the id, and when
CREATE TABLE expired_sagas (
    mark UINTEGER NOT NULL,
    "day" INTEGER NOT NULL
);


-- what finished sagas taught; plans and durations are learned from the latest of each type
CREATE TABLE baselines (
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    ended_at BIGINT NOT NULL,
    document VARCHAR NOT NULL
);

-- the service that ran a step last
CREATE TABLE step_services (
    environment VARCHAR,
    name VARCHAR,
    step VARCHAR,
    service VARCHAR NOT NULL,
    PRIMARY KEY (environment, name, step)
);

-- attempts that ended; `slot` is when they started, in seconds since 1970, cut to five minutes, and to hours where they
-- are old
CREATE TABLE step_counts (
    environment VARCHAR,
    name VARCHAR,
    step VARCHAR,
    type VARCHAR,
    slot BIGINT,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    retried BIGINT NOT NULL,
    compensated BIGINT NOT NULL,
    -- nanoseconds from the start of their sagas, summed over first attempts
    position DOUBLE NOT NULL,
    PRIMARY KEY (environment, name, step, type, slot)
);

-- durations of those that succeeded; bucket n holds 2^(n/8) to 2^((n+1)/8) nanoseconds
CREATE TABLE step_durations (
    environment VARCHAR,
    name VARCHAR,
    step VARCHAR,
    type VARCHAR,
    slot BIGINT,
    bucket SMALLINT,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (environment, name, step, type, slot, bucket)
);

-- sagas that need attention, one row each beside its summary; `joined_at` is when it became part of that incident
CREATE TABLE incident_sagas (
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    incident VARCHAR NOT NULL,
    step VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    phase VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    error VARCHAR NOT NULL,
    recommended_action VARCHAR NOT NULL,
    since BIGINT NOT NULL,
    joined_at BIGINT NOT NULL
);

-- the amounts at risk in them; `places` is the number of decimal places as they were written
CREATE TABLE incident_amounts (
    environment VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    incident VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    certain DECIMAL(38, 9) NOT NULL,
    possible DECIMAL(38, 9) NOT NULL,
    places TINYINT NOT NULL
);

CREATE TABLE incidents (
    key VARCHAR PRIMARY KEY,
    document VARCHAR NOT NULL
);

CREATE TABLE incident_changes (
    incident VARCHAR NOT NULL,
    "at" BIGINT NOT NULL,
    what VARCHAR NOT NULL,
    by_whom VARCHAR,
    note VARCHAR NOT NULL,
    sagas BIGINT NOT NULL
);

-- who was part of an incident when it was acknowledged last
CREATE TABLE incident_members (
    incident VARCHAR NOT NULL,
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    acknowledged_at BIGINT NOT NULL
);

-- what each webhook was told of each incident
CREATE TABLE alert_states (
    webhook VARCHAR,
    incident VARCHAR,
    opened_at BIGINT NOT NULL,
    grown BIGINT NOT NULL,
    is_over BOOLEAN NOT NULL,
    over_since BIGINT,
    PRIMARY KEY (webhook, incident)
);

-- `next_attempt_at` is NULL when it was delivered or given up
CREATE TABLE alert_notifications (
    id VARCHAR PRIMARY KEY,
    webhook VARCHAR NOT NULL,
    "at" BIGINT NOT NULL,
    event VARCHAR NOT NULL,
    document VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at BIGINT,
    delivered_at BIGINT,
    error VARCHAR
);

-- when nothing was taken in while the collector ran
CREATE TABLE ingest_outages (
    started_at BIGINT PRIMARY KEY,
    ended_at BIGINT NOT NULL
);

-- `*_uptime` are nanoseconds since the machine started: they bound an outage where the wall clock was set meanwhile
CREATE TABLE collector_runs (
    started_at BIGINT NOT NULL,
    alive_at BIGINT NOT NULL,
    stopped_at BIGINT,
    boot_id VARCHAR NOT NULL,
    started_uptime BIGINT NOT NULL,
    alive_uptime BIGINT NOT NULL
);

-- what a person asked to have erased, until that is done: sagas, and texts that tell of them elsewhere
CREATE TABLE erasures (
    environment VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    "text" VARCHAR NOT NULL
);

-- where backups were written to, as far as the collector was told
CREATE TABLE backups (
    made_at BIGINT NOT NULL,
    location VARCHAR NOT NULL
);
