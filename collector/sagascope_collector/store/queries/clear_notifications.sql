-- what is not delivered yet never will be
UPDATE alert_notifications SET document = '{}', next_try_at = NULL
WHERE document <> '{}' AND EXISTS (FROM texts WHERE contains(document, texts."text"))
