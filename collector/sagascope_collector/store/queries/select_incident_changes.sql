SELECT incident, "at", what, by_whom, note, sagas FROM incident_changes WHERE incident = $key ORDER BY "at", rowid
