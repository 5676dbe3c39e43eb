-- all sagas of an id rest together, or none
SELECT environment, id
FROM sagas
GROUP BY environment, id
HAVING bool_and(ended_at IS NOT NULL AND attention IS NULL AND due_at IS NULL AND updated_at < $before)
ORDER BY min(started_at)
LIMIT $limit
