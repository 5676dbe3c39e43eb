SELECT incident FROM standing SEMI JOIN settled USING (environment, id)
UNION
SELECT incident FROM incident_members SEMI JOIN settled USING (environment, id)
