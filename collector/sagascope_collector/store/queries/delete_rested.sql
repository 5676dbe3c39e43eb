DELETE FROM rested USING settled WHERE rested.environment = settled.environment AND rested.id = settled.id
