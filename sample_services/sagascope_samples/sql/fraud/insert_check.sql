INSERT INTO checks (payment, customer, cents, currency) VALUES (:payment, :customer, :cents, :currency)
