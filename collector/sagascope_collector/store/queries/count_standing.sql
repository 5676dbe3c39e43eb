SELECT count(*) FROM standing
