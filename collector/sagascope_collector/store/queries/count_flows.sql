SELECT name, environment, status, count(*), count(attention) FROM all_sagas GROUP BY name, environment, status ORDER BY ALL
