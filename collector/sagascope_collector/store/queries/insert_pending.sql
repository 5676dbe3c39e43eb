INSERT INTO pending
SELECT DISTINCT environment, saga_id, $seq
FROM (
    SELECT environment, saga_id FROM batch_spans
    UNION ALL SELECT environment, saga_id FROM batch_logs
    UNION ALL SELECT environment, saga_id FROM batch_links
)
WHERE saga_id <> ''
