-- attempts that ended, rolled up as they are sealed; `slot` is when they began, in seconds since 1970, cut to five
-- minutes, and to hours where they are old
CREATE TABLE step_counts (
    environment VARCHAR,
    name VARCHAR,
    step VARCHAR,
    type VARCHAR,
    slot BIGINT,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    retried BIGINT NOT NULL,
    undone BIGINT NOT NULL,
    -- nanoseconds from the beginning of their sagas, as far as it was sealed with them
    place DOUBLE NOT NULL,
    PRIMARY KEY (environment, name, step, type, slot)
);

-- how long those took that succeeded; bucket n holds 2^(n/8) to 2^((n+1)/8) nanoseconds
CREATE TABLE step_times (
    environment VARCHAR,
    name VARCHAR,
    step VARCHAR,
    type VARCHAR,
    slot BIGINT,
    bucket SMALLINT,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (environment, name, step, type, slot, bucket)
);
