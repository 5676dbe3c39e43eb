UPDATE accounts SET cents = cents + :cents
WHERE customer = :customer AND currency = :currency AND cents + :cents >= 0
RETURNING cents
