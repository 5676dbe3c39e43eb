-- transaction ids have 64 bits; pg_prepared_xacts shows the lower 32
SELECT
    gid,
    transaction::text::bigint AS xid,
    prepared,
    owner,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY prepared, gid
