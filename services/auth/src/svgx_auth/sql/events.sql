-- The statements of the outbox. The state service has the same statements, but its drop_old_events also keeps events
-- that are still to be delivered to webhooks.

-- name: emit_event
INSERT INTO event (id, type, service, entity_id, actor, data) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb)

-- name: claim_relay
-- Keep other replicas from relaying until the transaction ends. Return false when another replica is relaying.
SELECT pg_try_advisory_xact_lock(hashtext('svgx.events.relay'), hashtext(current_schema())) AS claimed

-- name: unrelayed_events
SELECT id, type, service, entity_id, actor, data::text AS data, at FROM event
WHERE relayed_at IS NULL ORDER BY number LIMIT $1

-- name: mark_relayed
UPDATE event SET relayed_at = clock_timestamp() WHERE id = ANY ($1::text[])

-- name: outbox_lag
-- Read the age of the oldest event that is not relayed; null without one.
SELECT extract(epoch FROM clock_timestamp() - min(at))::double precision AS seconds
FROM event WHERE relayed_at IS NULL

-- name: drop_old_events
-- Look at the next $2 events that are older than $1 days, after the event (at $3, id $4), and delete those that were
-- relayed. Return the last event that was looked at, and `full` when there may be more.
WITH old AS MATERIALIZED (
    SELECT e.id, e.at, e.relayed_at FROM event e
    WHERE e.at < clock_timestamp() - $1 * interval '1 day'
        AND ($3::timestamptz IS NULL OR (e.at, e.id) > ($3, $4::text))
    ORDER BY e.at, e.id LIMIT $2
), gone AS (
    DELETE FROM event e USING old WHERE e.id = old.id AND old.relayed_at IS NOT NULL
)
SELECT at, id, (SELECT count(*) FROM old) = $2 AS full FROM old ORDER BY at DESC, id DESC LIMIT 1
