SELECT environment, id, max(seq) FROM pending GROUP BY environment, id ORDER BY min(seq), environment, id LIMIT $limit
