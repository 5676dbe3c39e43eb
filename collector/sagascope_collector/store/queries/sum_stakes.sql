SELECT incident, currency, sum(certain), sum(possible), max(places) FROM stakes GROUP BY incident, currency ORDER BY ALL
