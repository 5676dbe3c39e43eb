INSERT INTO messages (payment, customer, text) VALUES (:payment, :customer, :text) RETURNING number
