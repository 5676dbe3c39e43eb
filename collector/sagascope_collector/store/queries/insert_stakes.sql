INSERT INTO stakes BY NAME SELECT * FROM batch_stakes
