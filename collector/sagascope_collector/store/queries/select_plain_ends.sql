-- Sagas that ended plainly: one root that has ended, one name and run, every span final and told by our own attributes,
-- steps forward only and none with two attempts that may both have succeeded. What an attribute may still say against
-- it is for the caller to read. Whatever is in doubt is not here.
WITH told AS (
    SELECT
        environment, saga_id, saga_name, saga_run, saga_role, step_name, step_type, step_key, step_attempt,
        coalesce(nullif(step_name, ''), name) AS step, kind, start, "end", status, service, trace_id, span_id,
        attribute_keys, attribute_values
    FROM rows_spans SEMI JOIN wanted_sagas USING (environment, saga_id)
),
tried AS (
    SELECT
        environment, saga_id, step, step_key,
        count(*) AS views,
        count(DISTINCT (service, step_attempt)) AS places,
        count(DISTINCT step_attempt) AS tries,
        count(DISTINCT step_attempt) FILTER (status <> 'error') AS lasting,
        min(step_attempt) AS first_try,
        min(start) AS began
    FROM told
    WHERE saga_role = 'step'
    GROUP BY environment, saga_id, step, step_key
),
steps AS (
    SELECT
        environment, saga_id,
        list(step ORDER BY began, step, step_key) AS steps,
        bool_and(views = places) AS is_single,
        bool_and(tries = 1) AS is_once,
        bool_and(tries = 1 OR (lasting <= 1 AND first_try > 0)) AS is_retried_at_most
    FROM tried
    GROUP BY environment, saga_id
),
whole AS (
    SELECT
        environment, saga_id,
        max(saga_name) AS name,
        max(saga_run) AS run,
        count(*) FILTER (saga_role = 'saga') AS roots,
        max(start) FILTER (saga_role = 'saga') AS started_at,
        max("end") FILTER (saga_role = 'saga') AS ended_at,
        max(greatest("end", 0)) AS updated_at,
        max(status) FILTER (saga_role = 'saga') AS root_status,
        max(attribute_keys) FILTER (saga_role = 'saga') AS root_keys,
        max(attribute_values) FILTER (saga_role = 'saga') AS root_values,
        list(service ORDER BY start, trace_id, span_id) FILTER (service <> '') AS services,
        list([attribute_keys, attribute_values] ORDER BY start, trace_id, span_id)
            FILTER (contains(attribute_keys, $key_prefix)) AS told,
        count(DISTINCT nullif(saga_name, '')) <= 1
            AND count(DISTINCT saga_run) = 1
            AND min("end") > 0
            AND count(*) = count(DISTINCT (trace_id, span_id))
            AND bool_and(step_type IN ('', 'action'))
            AND bool_and(saga_role IN ('', 'saga', 'step'))
            AND bool_and(regexp_matches(attribute_keys, '[\[,]0[,\]]'))
            AND NOT bool_or(contains(attribute_keys, $compensates) OR contains(attribute_keys, 'logfire.')) AS is_plain,
        bool_or(kind IN ('server', 'consumer') AND saga_role = '') AS is_received
    FROM told
    GROUP BY environment, saga_id
),
logged AS (
    SELECT
        environment, saga_id,
        max("at") AS last_at,
        list([attribute_keys, attribute_values]
            ORDER BY "at", observed_at, trace_id, span_id, event_name, identity)
            FILTER (contains(attribute_keys, $key_prefix)) AS told,
        count(DISTINCT nullif(saga_name, '')) <= 1 AND count(DISTINCT saga_run) = 1
            AND bool_and(regexp_matches(attribute_keys, '[\[,]0[,\]]') AND NOT contains(attribute_keys, 'partial.'))
            AS is_plain,
        max(saga_name) AS name,
        max(saga_run) AS run
    FROM rows_logs SEMI JOIN wanted_sagas USING (environment, saga_id)
    GROUP BY environment, saga_id
),
announced AS (
    SELECT DISTINCT environment, saga_id
    FROM rows_logs ANTI JOIN told USING (environment, saga_id, trace_id, span_id)
    WHERE event_name = $started
)
SELECT
    environment, saga_id, whole.name, whole.run, whole.started_at, greatest(whole.updated_at, coalesce(last_at, 0)),
    whole.ended_at, root_status, root_keys, root_values, coalesce(steps, []), coalesce(services, []),
    list_concat(coalesce(logged.told, []), coalesce(whole.told, []))
FROM whole
LEFT JOIN steps USING (environment, saga_id)
LEFT JOIN logged USING (environment, saga_id)
ANTI JOIN announced USING (environment, saga_id)
ANTI JOIN rows_links USING (environment, saga_id)
WHERE whole.is_plain
    AND whole.roots = 1
    AND coalesce(is_single, TRUE)
    AND coalesce(is_once OR (is_retried_at_most AND NOT is_received), TRUE)
    AND coalesce(logged.is_plain AND logged.run = whole.run AND logged.name IN ('', whole.name), TRUE)
