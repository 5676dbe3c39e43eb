CREATE TABLE IF NOT EXISTS accounts (
    customer TEXT NOT NULL,
    currency TEXT NOT NULL,
    cents INTEGER NOT NULL CHECK (cents >= 0),
    PRIMARY KEY (customer, currency)
) STRICT
