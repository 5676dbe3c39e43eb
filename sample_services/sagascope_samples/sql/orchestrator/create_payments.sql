CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,  -- accepted, completed, compensated
    detail TEXT NOT NULL DEFAULT ''
) STRICT
