-- name: insert_backup
INSERT INTO backups VALUES ($made_at, $location)

-- name: select_backups
-- a later one took the place of an earlier one
SELECT location, max(made_at) AS made_at FROM backups
GROUP BY location
HAVING max(made_at) >= $since
ORDER BY made_at, location
