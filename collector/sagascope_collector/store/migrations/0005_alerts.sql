-- what each webhook was told of each incident
CREATE TABLE alerts_told (
    webhook VARCHAR,
    incident VARCHAR,
    opened_at BIGINT NOT NULL,
    grown BIGINT NOT NULL,
    is_over BOOLEAN NOT NULL,
    over_since BIGINT,
    PRIMARY KEY (webhook, incident)
);

-- what is to be told, or was; `next_try_at` is NULL when it was delivered or given up
CREATE TABLE alert_notifications (
    id VARCHAR PRIMARY KEY,
    webhook VARCHAR NOT NULL,
    "at" BIGINT NOT NULL,
    event VARCHAR NOT NULL,
    document VARCHAR NOT NULL,
    tries INTEGER NOT NULL,
    next_try_at BIGINT,
    delivered_at BIGINT,
    error VARCHAR
);
