DELETE FROM expired WHERE "day" < $before
