INSERT INTO payments (id, state) VALUES (:id, 'accepted') ON CONFLICT DO NOTHING RETURNING id
