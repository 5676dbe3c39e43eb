INSERT INTO incident_changes BY NAME SELECT * FROM batch_changes
