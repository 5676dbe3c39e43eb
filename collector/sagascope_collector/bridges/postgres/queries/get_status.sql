-- NULL: PostgreSQL no longer knows the transaction
SELECT
    pg_xact_status(%(xid)s::text::xid8) AS status,
    CASE WHEN current_setting('track_commit_timestamp')::boolean
        THEN pg_xact_commit_timestamp(%(xid)s::text::xid8::xid) END AS committed_at
