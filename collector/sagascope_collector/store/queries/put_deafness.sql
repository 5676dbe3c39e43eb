INSERT OR REPLACE INTO deafness VALUES ($start, $end)
