SELECT * FROM instances ORDER BY last_seen DESC, environment, service, identity
