DELETE FROM lessons
WHERE rowid IN (
    SELECT rowid
    FROM lessons
    QUALIFY row_number() OVER (PARTITION BY environment, name ORDER BY ended_at DESC, id, run) > $keep
)
