-- Which instance started most of what is stuck?
SELECT p.service, p.instance, count(DISTINCT g.id) AS stuck
FROM sagas g
JOIN spans p ON p.saga_id = g.id AND p.environment = g.environment AND p.step = g.step
WHERE g.attention IS NOT NULL AND p.role = 'step'
GROUP BY ALL
ORDER BY stuck DESC, p.service, p.instance
LIMIT 10

-- How long does each step take, by hour?
SELECT saga_name, step, date_trunc('hour', started_at) AS hour, count(*) AS attempts,
       round(quantile_cont(duration_seconds, 0.5), 3) AS p50, round(quantile_cont(duration_seconds, 0.95), 3) AS p95
FROM spans
WHERE role = 'step' AND duration_seconds IS NOT NULL
GROUP BY ALL
ORDER BY hour DESC, p95 DESC, step

-- Which version of which service fails?
SELECT service, version, count(*) AS attempts, count(*) FILTER (WHERE status = 'error') AS failed,
       round(100 * failed / attempts, 1) AS percent
FROM spans
WHERE role = 'step'
GROUP BY ALL
HAVING failed > 0
ORDER BY percent DESC, service, version

-- What did one customer's transactions do?
SELECT started_at, name, id, status, attention, headline
FROM sagas
WHERE keys->>'$.customer' = 'c-17'
ORDER BY started_at

-- Which transactions of the last 24 hours were the slowest?
SELECT name, id, status, started_at, round(duration_seconds, 1) AS seconds
FROM sagas
WHERE started_at >= (now() AT TIME ZONE 'UTC') - INTERVAL 24 HOURS AND ended_at IS NOT NULL
ORDER BY duration_seconds DESC, id
LIMIT 10

-- Which steps are retried?
SELECT saga_name, step, count(DISTINCT saga_id) AS sagas, count(*) FILTER (WHERE attempt > 1) AS retries,
       max(attempt) AS most
FROM spans
WHERE role = 'step'
GROUP BY ALL
HAVING retries > 0
ORDER BY retries DESC, step

-- How many transactions ended how, by day?
SELECT started_at::DATE AS day, name, count(*) AS sagas,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'compensated') AS compensated,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(attention) AS need_attention
FROM sagas
GROUP BY ALL
ORDER BY day, name

-- Which errors are the most frequent?
SELECT service, step, coalesce(status_message, events->0->'attributes'->>'$."exception.message"') AS error, count(*) AS times,
       max(started_at) AS latest
FROM spans
WHERE status = 'error'
GROUP BY ALL
ORDER BY times DESC, error
LIMIT 20

-- What did the services log about one transaction?
SELECT "at", service, severity_text, body
FROM logs
WHERE saga_id = '8492' AND event_name IS NULL
ORDER BY "at"

-- How much money was in transactions that were compensated?
SELECT g.name, p.attributes->>'$."saga.currency"' AS currency, count(DISTINCT g.id) AS sagas,
       sum((p.attributes->>'$."saga.amount"')::DECIMAL(18, 2)) AS amount
FROM sagas g
JOIN spans p ON p.saga_id = g.id AND p.environment = g.environment AND p.role = 'saga'
WHERE g.status = 'compensated'
GROUP BY ALL
ORDER BY amount DESC
