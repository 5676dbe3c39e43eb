DELETE FROM pending USING settled WHERE pending.environment = settled.environment AND pending.id = settled.id
