INSERT INTO standing BY NAME SELECT * FROM batch_standing
