-- every transaction holds a lock on its own id; the other locks of its virtual transaction are joined to it
SELECT
    own.transactionid::text::bigint AS xid,
    held.relation::regclass::text AS relation,
    array_agg(DISTINCT held.mode ORDER BY held.mode) AS modes
FROM pg_locks AS own
JOIN pg_locks AS held ON held.virtualtransaction = own.virtualtransaction AND held.pid IS NULL
WHERE own.locktype = 'transactionid' AND own.granted AND own.pid IS NULL
    AND held.locktype = 'relation' AND held.granted
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1, 2
ORDER BY 1, 2
