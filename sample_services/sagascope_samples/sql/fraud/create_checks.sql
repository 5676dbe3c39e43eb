CREATE TABLE IF NOT EXISTS checks (
    payment TEXT PRIMARY KEY,
    customer TEXT NOT NULL,
    cents INTEGER NOT NULL,
    currency TEXT NOT NULL
) STRICT
