-- The statements of the outbox. Auth has the same statements, except that its drop_old_events knows no deliveries.

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
-- Check the next $2 events that are older than $1 days, after the event (at $3, id $4). Delete these events with their
-- deliveries, except for events that are not relayed or not delivered yet. Return the last event that was checked, and
-- `full`, which is true when there may be more.
--
-- An admin may request a delivery again while the statement runs. So the statement first deletes the deliveries, except
-- for those that are pending by now, and then the events without a delivery.
WITH old AS MATERIALIZED (
    SELECT e.id, e.at, e.relayed_at FROM event e
    WHERE e.at < clock_timestamp() - $1 * interval '1 day'
        AND ($3::timestamptz IS NULL OR (e.at, e.id) > ($3, $4::text))
    ORDER BY e.at, e.id LIMIT $2
), due AS MATERIALIZED (
    SELECT old.id FROM old
    WHERE old.relayed_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_delivery d WHERE d.event_id = old.id AND d.status = 'pending')
), ended AS (
    DELETE FROM webhook_delivery d USING due
    WHERE d.event_id = due.id AND d.status <> 'pending'
    RETURNING d.id
), gone AS (
    DELETE FROM event e USING due
    WHERE e.id = due.id AND NOT EXISTS (
        SELECT FROM webhook_delivery d WHERE d.event_id = e.id AND d.id NOT IN (SELECT ended.id FROM ended)
    )
)
SELECT at, id, (SELECT count(*) FROM old) = $2 AS full FROM old ORDER BY at DESC, id DESC LIMIT 1
