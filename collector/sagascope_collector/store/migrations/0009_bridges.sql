-- what a bridge says of itself in its heartbeats, as JSON
ALTER TABLE instances ADD COLUMN beat_following VARCHAR;
