INSERT INTO incident_members
SELECT incident, environment, name, id, run, $at FROM standing WHERE incident = $key
