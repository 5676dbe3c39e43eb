DELETE FROM forgetting
