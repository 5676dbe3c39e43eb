-- processes that do not know migration `oldest` do not use the lake
CREATE TABLE IF NOT EXISTS sagascope_version (version INTEGER NOT NULL, oldest INTEGER NOT NULL);
INSERT INTO sagascope_version SELECT 0, 1 WHERE NOT EXISTS (SELECT FROM sagascope_version);
-- in PostgreSQL itself: an idle receiver would else write a Parquet file every two seconds
CREATE TABLE IF NOT EXISTS sagascope_receivers (
    receiver TEXT PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL,
    committed_until TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS sagascope_outages (
    receiver TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS sagascope_instances (
    environment TEXT NOT NULL,
    service TEXT NOT NULL,
    identity TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (environment, service, identity)
);
CREATE TABLE IF NOT EXISTS sagascope_followers (
    follower TEXT PRIMARY KEY,
    snapshot_id BIGINT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL
);
-- files that may be in no commit
CREATE TABLE IF NOT EXISTS sagascope_files (
    file_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path TEXT NOT NULL,
    written_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE IF NOT EXISTS sagascope_erasures (
    erasure_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- what to erase, until it is erased
    request TEXT,
    -- by which collectors recognize what to erase from their copies
    salt TEXT NOT NULL,
    digests TEXT[] NOT NULL,
    -- the snapshots that erased it; what later ones append is new
    first_snapshot BIGINT,
    last_snapshot BIGINT
);
-- by which each process finds out whether it has the lake's key for pseudonyms
CREATE TABLE IF NOT EXISTS sagascope_pseudonym_key (digest TEXT NOT NULL);
-- what people and the leader decide: small rows that change in place, which a lake would store as one file each
CREATE TABLE IF NOT EXISTS sagascope_incidents (
    key TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    -- the sagas that it had when it was acknowledged, as JSON
    members TEXT,
    members_revision BIGINT
);
-- one change of an incident, as JSON; the revision counts all changes
CREATE TABLE IF NOT EXISTS sagascope_incident_changes (
    revision BIGINT PRIMARY KEY,
    change TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sagascope_alert_states (
    receiver TEXT,
    incident TEXT,
    opened_at BIGINT NOT NULL,
    growth_step BIGINT NOT NULL,
    is_resolved BOOLEAN NOT NULL,
    resolved_since BIGINT,
    PRIMARY KEY (receiver, incident)
);
-- a notification is sent by the process that has claimed it
CREATE TABLE IF NOT EXISTS sagascope_alert_notifications (
    id TEXT PRIMARY KEY,
    receiver TEXT NOT NULL,
    "at" BIGINT NOT NULL,
    event TEXT NOT NULL,
    document TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at BIGINT,
    claimed_until TIMESTAMPTZ,
    delivered_at BIGINT,
    error TEXT
)
