DELETE FROM standing USING settled
WHERE standing.environment = settled.environment AND standing.id = settled.id
RETURNING standing.environment, name, standing.id, run, incident, joined_at
