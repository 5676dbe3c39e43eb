-- what somebody wants to be forgotten, until that is done: sagas, and texts that tell of them elsewhere
CREATE TABLE forgetting (
    environment VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    "text" VARCHAR NOT NULL
);

-- where backups were written to, as far as the collector was told
CREATE TABLE backups (
    made_at BIGINT NOT NULL,
    place VARCHAR NOT NULL
);
