DELETE FROM stakes USING settled WHERE stakes.environment = settled.environment AND stakes.id = settled.id
