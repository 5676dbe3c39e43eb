SELECT environment, id, seq FROM pending ORDER BY seq, environment, id
