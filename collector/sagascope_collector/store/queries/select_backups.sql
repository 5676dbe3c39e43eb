-- a later one took the place of an earlier one
SELECT place, max(made_at) AS made_at FROM backups GROUP BY place HAVING max(made_at) >= $since ORDER BY made_at, place
