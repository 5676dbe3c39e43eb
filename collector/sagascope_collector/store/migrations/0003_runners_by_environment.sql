-- known anew from the sagas that are summarised next
DROP TABLE runners;

-- the service that ran a step last
CREATE TABLE runners (
    environment VARCHAR,
    name VARCHAR,
    step VARCHAR,
    service VARCHAR NOT NULL,
    PRIMARY KEY (environment, name, step)
);
