DELETE FROM step_counts WHERE slot < $oldest OR (slot < $before AND slot % 3600 <> 0)
