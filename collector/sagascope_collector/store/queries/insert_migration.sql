INSERT INTO migrations VALUES ($version, $name, now(), $applied_by)
