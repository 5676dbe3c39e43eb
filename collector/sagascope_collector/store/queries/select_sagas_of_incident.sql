SELECT DISTINCT environment, id FROM standing WHERE incident = $key ORDER BY ALL
