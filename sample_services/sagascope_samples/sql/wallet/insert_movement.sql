INSERT INTO movements (payment, kind, customer, currency, cents)
VALUES (:payment, :kind, :customer, :currency, :cents)
