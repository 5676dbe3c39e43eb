-- a session that a prepared transaction blocks is blocked by pid 0
SELECT
    waiting.pid,
    waiting.transactionid::text::bigint AS xid,
    waiting.relation::regclass::text AS relation,
    waiting.mode,
    coalesce(waiting.waitstart, activity.query_start) AS since,
    activity.application_name AS application,
    activity.query,
    pg_blocking_pids(waiting.pid) AS blocked_by
FROM pg_locks AS waiting
JOIN pg_stat_activity AS activity USING (pid)
WHERE NOT waiting.granted
ORDER BY since, waiting.pid
