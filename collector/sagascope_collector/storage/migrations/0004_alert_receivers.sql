-- Alerts in Alertmanager's words.
ALTER TABLE alert_states RENAME webhook TO receiver;
ALTER TABLE alert_states RENAME grown TO growth_step;
ALTER TABLE alert_states RENAME is_over TO is_resolved;
ALTER TABLE alert_states RENAME over_since TO resolved_since;
ALTER TABLE alert_notifications RENAME webhook TO receiver;
UPDATE alert_notifications
SET event = 'resolved', document = replace(document, '"event": "over"', '"event": "resolved"')
WHERE event = 'over';

UPDATE incidents SET document = replace(document, '"stakes":', '"amounts":');

-- one document an instance instead of many columns; heartbeats fill it again
CREATE OR REPLACE TABLE instances (
    environment VARCHAR,
    service VARCHAR,
    identity VARCHAR,
    document VARCHAR NOT NULL,
    PRIMARY KEY (environment, service, identity)
);
