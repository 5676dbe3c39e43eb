-- name: select_stop
SELECT database_id, is_clean FROM state

-- name: update_clean
UPDATE state SET is_clean = $is_clean

-- name: insert_run
INSERT INTO collector_runs VALUES ($now, $now, NULL, $boot_id, $uptime, $uptime)

-- name: update_run_alive
UPDATE collector_runs SET alive_at = $now, alive_uptime = $uptime WHERE started_at = $started_at

-- name: update_run_stopped
UPDATE collector_runs SET alive_at = $now, stopped_at = $now, alive_uptime = $uptime WHERE started_at = $started_at

-- name: put_outage
INSERT OR REPLACE INTO ingest_outages VALUES ($start, $end)

-- name: select_outages
SELECT started_at, ended_at
FROM (
    SELECT
        alive_at AS started_at,
        CASE
            WHEN lead(boot_id) OVER runs = boot_id
                THEN least(lead(started_at) OVER runs, alive_at + lead(started_uptime) OVER runs - alive_uptime)
            ELSE lead(started_at) OVER runs
        END AS ended_at
    FROM collector_runs
    WINDOW runs AS (ORDER BY rowid)
    UNION ALL
    SELECT started_at, ended_at FROM ingest_outages
)
WHERE ended_at > $since AND ended_at > started_at
ORDER BY started_at
