"""Facts in, saga and verdict out. Pure: no clock, no database, no network."""
