INSERT OR REPLACE INTO incidents BY NAME SELECT * FROM batch_incidents
