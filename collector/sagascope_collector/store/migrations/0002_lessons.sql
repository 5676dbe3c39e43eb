-- what finished sagas taught, as text: plans and usual times are learned from the latest of each name
CREATE TABLE lessons (
    environment VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    ended_at BIGINT NOT NULL,
    document VARCHAR NOT NULL
);
