INSERT INTO answers (key, answer) VALUES (:key, :answer)
