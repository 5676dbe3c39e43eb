SELECT environment FROM sagas WHERE id = $id
UNION SELECT environment FROM pending WHERE id = $id
ORDER BY environment
