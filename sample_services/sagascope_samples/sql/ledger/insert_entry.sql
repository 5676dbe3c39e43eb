INSERT INTO entries (payment, kind, cents, currency) VALUES (:payment, :kind, :cents, :currency)
RETURNING number
