-- which of these ids completed before then; all sagas of an id shrink together, or none
SELECT environment, id
FROM sagas SEMI JOIN settled USING (environment, id)
GROUP BY environment, id
HAVING bool_and(status = 'completed' AND attention IS NULL AND due_at IS NULL AND updated_at < $before)
