-- sagas that need someone, one row each beside its summary; `joined_at` is when it became part of that incident
CREATE TABLE standing (
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
    remedy VARCHAR NOT NULL,
    since BIGINT NOT NULL,
    joined_at BIGINT NOT NULL
);

-- what is at stake in them; `places` is the number of decimal places as they were written
CREATE TABLE stakes (
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
