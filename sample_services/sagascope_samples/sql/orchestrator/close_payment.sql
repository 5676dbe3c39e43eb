UPDATE payments SET state = :state, detail = :detail WHERE id = :id
