DELETE FROM step_times WHERE slot < $oldest OR (slot < $before AND slot % 3600 <> 0)
