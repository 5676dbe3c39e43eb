-- Spans, logs and links are not here: they are in the files of the folder beside the database. See docs/adr/0004.

-- the sealed tier: which files count
CREATE TABLE chunks (
    number UBIGINT PRIMARY KEY,
    spans UBIGINT NOT NULL,
    logs UBIGINT NOT NULL,
    links UBIGINT NOT NULL,
    earliest UBIGINT NOT NULL,
    latest UBIGINT NOT NULL,
    bytes UBIGINT NOT NULL
);

-- one row; what the journals hold beyond `sealed_through` is to be added to it
CREATE TABLE state (
    owner VARCHAR NOT NULL,
    begun BOOLEAN NOT NULL,
    sealed_through UBIGINT NOT NULL,
    seq UBIGINT NOT NULL,
    received UBIGINT NOT NULL,
    stored UBIGINT NOT NULL,
    rejected UBIGINT NOT NULL,
    duplicate UBIGINT NOT NULL,
    -- summaries have seen all commits up to this one, but for the sagas that are pending
    projected UBIGINT NOT NULL
);

INSERT INTO state VALUES (uuid()::VARCHAR, FALSE, 0, 0, 0, 0, 0, 0, 0);

-- saga ids with sealed facts newer than their summaries, as of the last sealing
CREATE TABLE pending (
    environment VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    seq UBIGINT NOT NULL
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
