INSERT INTO backups VALUES ($made_at, $place)
