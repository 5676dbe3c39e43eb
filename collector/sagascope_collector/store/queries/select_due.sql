SELECT environment, id FROM sagas WHERE due_at <= $now GROUP BY environment, id ORDER BY min(due_at), environment, id LIMIT $limit
