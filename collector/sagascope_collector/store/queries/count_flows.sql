SELECT name, environment, status, count(*), count(attention) FROM sagas GROUP BY name, environment, status ORDER BY ALL
