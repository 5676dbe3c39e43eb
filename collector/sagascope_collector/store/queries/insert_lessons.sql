INSERT INTO lessons BY NAME SELECT * FROM batch_lessons
