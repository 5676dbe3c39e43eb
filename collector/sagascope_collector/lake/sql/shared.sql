-- name: insert_key_digest
INSERT INTO sagascope_pseudonym_key
SELECT %(digest)s::TEXT WHERE NOT EXISTS (SELECT FROM sagascope_pseudonym_key)

-- name: select_key_digest
SELECT digest FROM sagascope_pseudonym_key

-- name: lock_incidents
LOCK TABLE sagascope_incidents IN SHARE ROW EXCLUSIVE MODE

-- name: select_last_revision
SELECT coalesce(max(revision), 0) FROM sagascope_incident_changes

-- name: select_changes
SELECT revision, change FROM sagascope_incident_changes WHERE revision > %(after)s ORDER BY revision

-- name: select_incidents
SELECT key, document, CASE WHEN members_revision > %(after)s THEN members END
FROM sagascope_incidents WHERE revision > %(after)s

-- name: insert_change
INSERT INTO sagascope_incident_changes VALUES (%(revision)s, %(change)s)

-- name: put_incident
INSERT INTO sagascope_incidents AS known
VALUES (
    %(key)s, %(revision)s, %(document)s, %(members)s::text,
    CASE WHEN %(members)s::text IS NOT NULL THEN %(revision)s::bigint END
)
ON CONFLICT (key) DO UPDATE SET
    revision = excluded.revision,
    document = excluded.document,
    members = coalesce(excluded.members, known.members),
    members_revision = coalesce(excluded.members_revision, known.members_revision)

-- name: lock_alerts
LOCK TABLE sagascope_alert_states IN SHARE ROW EXCLUSIVE MODE

-- name: select_states
SELECT receiver, incident, opened_at, growth_step, is_resolved, resolved_since
FROM sagascope_alert_states WHERE NOT is_resolved

-- name: put_state
INSERT INTO sagascope_alert_states
VALUES (
    %(receiver)s, %(incident)s, %(opened_at)s, %(growth_step)s, %(is_resolved)s, %(resolved_since)s
)
ON CONFLICT (receiver, incident) DO UPDATE SET
    opened_at = excluded.opened_at,
    growth_step = excluded.growth_step,
    is_resolved = excluded.is_resolved,
    resolved_since = excluded.resolved_since

-- name: add_state
INSERT INTO sagascope_alert_states
VALUES (
    %(receiver)s, %(incident)s, %(opened_at)s, %(growth_step)s, %(is_resolved)s, %(resolved_since)s
)
ON CONFLICT DO NOTHING

-- name: insert_notification
INSERT INTO sagascope_alert_notifications (id, receiver, "at", event, document, next_attempt_at)
VALUES (%(id)s, %(receiver)s, %(at)s, %(event)s, %(document)s, %(at)s)
ON CONFLICT DO NOTHING

-- name: delete_old_notifications
DELETE FROM sagascope_alert_notifications WHERE next_attempt_at IS NULL AND "at" < %(before)s

-- name: select_notifications
SELECT id, receiver, "at", event, document, attempts, next_attempt_at
FROM sagascope_alert_notifications WHERE next_attempt_at IS NOT NULL ORDER BY "at", id

-- name: claim_notification
UPDATE sagascope_alert_notifications SET claimed_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND next_attempt_at IS NOT NULL AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
RETURNING id

-- name: update_notification_delivered
UPDATE sagascope_alert_notifications
SET delivered_at = %(at)s, next_attempt_at = NULL, attempts = attempts + 1, error = NULL
WHERE id = %(id)s

-- name: update_notification_failed
UPDATE sagascope_alert_notifications
SET next_attempt_at = %(next_attempt_at)s, attempts = attempts + 1, error = %(error)s, claimed_until = NULL
WHERE id = %(id)s

-- name: select_all_incidents
SELECT key, document, members FROM sagascope_incidents

-- name: update_incident
UPDATE sagascope_incidents SET document = %(document)s, members = %(members)s WHERE key = %(key)s

-- name: update_change
UPDATE sagascope_incident_changes SET change = %(change)s WHERE revision = %(revision)s

-- name: clear_notifications
-- pending notifications are cleared as well, and not delivered
UPDATE sagascope_alert_notifications SET document = '{}', next_attempt_at = NULL
WHERE document <> '{}' AND EXISTS (
    SELECT 1 FROM unnest(%(texts)s::text[]) AS texts ("text") WHERE position("text" IN document) > 0
)

-- name: select_members
-- this and what follows: in the local database
SELECT environment, name, id, run FROM incident_sagas WHERE incident = $key

-- name: select_local_changes
SELECT incident, "at", what, by_whom, note, sagas FROM incident_changes ORDER BY rowid

-- name: select_local_members
SELECT incident, acknowledged_at, environment, name, id, run FROM incident_members

-- name: delete_members
DELETE FROM incident_members WHERE incident IN (SELECT incident FROM batch_members)

-- name: insert_members
INSERT INTO incident_members BY NAME SELECT * FROM batch_members

-- name: update_joined
-- a saga that was there when another collector's reader acknowledged the incident joined it no later
UPDATE incident_sagas SET joined_at = least(joined_at, acknowledged_at)
FROM batch_members AS members
WHERE incident_sagas.incident = members.incident AND incident_sagas.environment = members.environment
    AND incident_sagas.name = members.name AND incident_sagas.id = members.id AND incident_sagas.run = members.run
