DELETE FROM incident_members USING settled
WHERE incident_members.environment = settled.environment AND incident_members.id = settled.id
