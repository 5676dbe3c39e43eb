-- the commits that hold the records of a trace; one row for each trace and part of the history
CREATE TABLE trace_commits (
    trace_hash UBIGINT NOT NULL,
    first_seq UBIGINT NOT NULL,
    last_seq UBIGINT NOT NULL
);
