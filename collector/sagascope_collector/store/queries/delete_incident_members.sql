DELETE FROM incident_members WHERE incident = $key
