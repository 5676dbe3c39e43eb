CREATE TABLE IF NOT EXISTS movements (
    payment TEXT NOT NULL,
    kind TEXT NOT NULL,  -- debit, refund
    customer TEXT NOT NULL,
    currency TEXT NOT NULL,
    cents INTEGER NOT NULL,
    PRIMARY KEY (payment, kind)
) STRICT
