CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY,
    payment TEXT NOT NULL,
    kind TEXT NOT NULL,  -- record, reverse
    cents INTEGER NOT NULL,
    currency TEXT NOT NULL,
    UNIQUE (payment, kind)
) STRICT
