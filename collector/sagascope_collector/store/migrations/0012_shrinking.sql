-- of sagas at rest that completed, and of which nothing was heard since, the summaries are all there is; in nanoseconds
CREATE TABLE shrunk (
    before BIGINT NOT NULL
);

INSERT INTO shrunk VALUES (0);
