SELECT DISTINCT hash(environment, id) AS fingerprint FROM rested ORDER BY fingerprint
