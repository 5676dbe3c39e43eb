INSERT INTO accounts (customer, currency, cents) VALUES (:customer, :currency, :cents) ON CONFLICT DO NOTHING
