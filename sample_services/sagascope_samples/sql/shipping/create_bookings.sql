CREATE TABLE IF NOT EXISTS bookings (
    number INTEGER PRIMARY KEY,
    payment TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL,
    state TEXT NOT NULL  -- booked, cancelled
) STRICT
