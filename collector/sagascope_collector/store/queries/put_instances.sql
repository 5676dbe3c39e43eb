INSERT OR REPLACE INTO instances BY NAME SELECT * FROM batch_presences
