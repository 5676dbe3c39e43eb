DELETE FROM lessons USING settled WHERE lessons.environment = settled.environment AND lessons.id = settled.id
