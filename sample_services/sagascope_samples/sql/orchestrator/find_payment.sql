SELECT id, state, detail FROM payments WHERE id = :id
