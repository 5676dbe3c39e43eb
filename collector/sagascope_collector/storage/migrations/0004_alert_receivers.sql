-- Alerts in Alertmanager's words.
ALTER TABLE alert_states RENAME webhook TO receiver;
ALTER TABLE alert_states RENAME grown TO growth_step;
ALTER TABLE alert_states RENAME is_over TO is_resolved;
ALTER TABLE alert_states RENAME over_since TO resolved_since;
ALTER TABLE alert_notifications RENAME webhook TO receiver;
UPDATE alert_notifications SET event = 'resolved' WHERE event = 'over';

UPDATE incidents SET document = replace(document, '"stakes":', '"amounts":');
