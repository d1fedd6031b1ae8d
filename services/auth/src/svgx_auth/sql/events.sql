-- The statements of the outbox. The state service has the same statements.

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
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(at))::double precision, 0) AS seconds
FROM event WHERE relayed_at IS NULL

-- name: drop_old_events
DELETE FROM event WHERE relayed_at IS NOT NULL AND at < clock_timestamp() - $1 * interval '1 day'
