-- summaries at rest are in files of the folder beside the database; see docs/adr/0006. Those that were in a table are
-- brought to rest anew
INSERT INTO sagas SELECT * FROM rested;

DROP VIEW all_sagas;

DROP TABLE rested;

-- which of those files count; times are those at which their sagas started
CREATE TABLE shelves (
    number UBIGINT PRIMARY KEY,
    sagas UBIGINT NOT NULL,
    earliest BIGINT NOT NULL,
    latest BIGINT NOT NULL,
    bytes UBIGINT NOT NULL,
    steps VARCHAR,
    services VARCHAR
);

-- how many of their sagas there are that count
CREATE TABLE shelf_flows (
    shelf UBIGINT NOT NULL,
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    sagas BIGINT NOT NULL
);

-- rows that count no longer: their sagas have other summaries, or none
CREATE TABLE shelf_gone (
    shelf UBIGINT NOT NULL,
    place BIGINT NOT NULL
);
