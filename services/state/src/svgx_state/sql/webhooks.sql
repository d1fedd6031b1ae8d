-- The statements of webhooks and their deliveries.

-- name: add_deliveries
-- Add deliveries of the events $1 to all active webhooks for their types.
INSERT INTO webhook_delivery (id, webhook_id, event_id, entity_id)
SELECT gen_random_uuid()::text, wanted.webhook_id, wanted.event_id, wanted.entity_id
FROM (
    SELECT w.id AS webhook_id, e.id AS event_id, e.entity_id FROM event e JOIN webhook w
        ON w.active AND (w.types = '{}' OR e.type = ANY (w.types))
    WHERE e.id = ANY ($1::text[])
    ORDER BY e.number, w.id
) wanted

-- name: record_event
-- Record an event that needs no relay: an event of another service, or a test event. Return its id, or no row if the
-- event is known.
INSERT INTO event (id, type, service, entity_id, actor, data, at, relayed_at)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, clock_timestamp())
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: claim_deliveries
-- Take deliveries that are due, and return them with their events and webhooks. Each webhook has at most $3 attempts at
-- a time on one replica. $1 lists the webhooks with running attempts on this replica, and $2 the count of these
-- attempts for each webhook. After $4 seconds, an attempt without a result counts as lost.
--
-- A delivery waits for the earlier deliveries of its entity. The statement checks at most $5 due deliveries of a
-- webhook. A delivery that waits is put off until the next attempt at the entity's first delivery, and for 5 seconds at
-- least, so that later statements do not check it again and again.
--
-- The statement always returns a row: `more` is true when a webhook may have more due deliveries, and `delivery_id` is
-- null when no delivery was taken.
WITH due AS MATERIALIZED (
    SELECT picked.*, w.id AS webhook_id, $3::integer - coalesce(busy.running, 0) AS free FROM webhook w
    LEFT JOIN unnest($1::text[], $2::integer[]) AS busy (id, running) ON busy.id = w.id
    CROSS JOIN LATERAL (
        SELECT d.id, d.due_at, d.number, (
            SELECT earlier.due_at FROM webhook_delivery earlier
            WHERE earlier.webhook_id = d.webhook_id AND earlier.entity_id = d.entity_id
                AND earlier.status = 'pending' AND earlier.number < d.number
            ORDER BY earlier.number LIMIT 1
        ) AS waits_until
        FROM webhook_delivery d
        WHERE d.webhook_id = w.id AND d.status = 'pending' AND d.due_at <= clock_timestamp()
        ORDER BY d.due_at, d.number
        LIMIT $5
        FOR UPDATE SKIP LOCKED
    ) picked
    WHERE w.active AND coalesce(busy.running, 0) < $3::integer
), first AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, free, row_number() OVER (PARTITION BY webhook_id ORDER BY due_at, number) AS place
        FROM due WHERE waits_until IS NULL
    ) ranked WHERE place <= free
), put_off AS (
    UPDATE webhook_delivery d
    SET due_at = greatest(due.waits_until, clock_timestamp() + interval '5 seconds')
    FROM due WHERE d.id = due.id AND due.waits_until IS NOT NULL
), taken AS (
    UPDATE webhook_delivery d
    SET attempts = d.attempts + 1, due_at = clock_timestamp() + $4::double precision * interval '1 second',
        started_at = CASE d.attempts WHEN 0 THEN clock_timestamp() ELSE d.started_at END
    FROM event e, webhook w
    WHERE d.id IN (SELECT id FROM first) AND e.id = d.event_id AND w.id = d.webhook_id
    RETURNING d.id AS delivery_id, d.webhook_id, d.attempts, greatest(d.started_at, w.resumed_at) AS started_at,
        clock_timestamp() AS taken_at, w.url, w.secret,
        CASE WHEN w.old_secret_until > clock_timestamp() THEN w.old_secret END AS old_secret,
        e.id, e.type, e.service, e.entity_id, e.actor, e.data::text AS data, e.at
)
SELECT taken.*, EXISTS (SELECT FROM due GROUP BY webhook_id HAVING count(*) = $5) AS more
FROM (SELECT) one LEFT JOIN taken ON true

-- name: finish_delivery
-- Record that the attempt $2 has succeeded.
UPDATE webhook_delivery
SET status = 'delivered', delivered_at = clock_timestamp(), response_status = $3, error = NULL
WHERE id = $1 AND status = 'pending' AND attempts = $2

-- name: release_next_delivery
-- Make the next delivery of the same entity due now, if the delivery $1 has ended. There is no condition on `due_at`,
-- because claim_deliveries may put this next delivery off at the same time. The statement then waits for the row, and
-- replaces the new `due_at`.
UPDATE webhook_delivery d SET due_at = clock_timestamp()
FROM webhook_delivery ended
WHERE ended.id = $1 AND ended.status <> 'pending' AND d.attempts = 0 AND d.id = (
    SELECT next.id FROM webhook_delivery next
    WHERE next.webhook_id = ended.webhook_id AND next.entity_id = ended.entity_id AND next.status = 'pending'
    ORDER BY next.number LIMIT 1
)

-- name: fail_delivery
-- Record that the attempt $2 has failed. The next attempt is at $5; null means that there is none.
UPDATE webhook_delivery
SET status = CASE WHEN $5::timestamptz IS NULL THEN 'dead' ELSE 'pending' END,
    due_at = coalesce($5::timestamptz, due_at), response_status = $3, error = $4
WHERE id = $1 AND status = 'pending' AND attempts = $2

-- name: delivery_backlog
-- Count the dead deliveries, and the pending deliveries to active webhooks.
SELECT
    (SELECT count(*) FROM webhook_delivery WHERE status = 'dead') AS dead,
    (SELECT count(*) FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook_id AND w.active
    WHERE d.status = 'pending') AS pending

-- name: lock_webhooks
-- Let one transaction at a time create a webhook. Otherwise, simultaneous transactions could exceed the largest number
-- of webhooks. The lock is a statement of its own, because a statement does not see the webhooks that are committed
-- while it waits.
SELECT pg_advisory_xact_lock(hashtext('svgx.state.webhooks'))

-- name: count_webhooks
SELECT count(*) AS number FROM webhook

-- name: create_webhook
INSERT INTO webhook (id, url, types, note, active, secret, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, url, types, note, active, created_at, updated_at, 0 AS pending, 0 AS dead

-- name: webhook
SELECT id, url, types, note, active, created_at, updated_at,
    (SELECT count(*) FROM webhook_delivery d WHERE d.webhook_id = w.id AND d.status = 'pending') AS pending,
    (SELECT count(*) FROM webhook_delivery d WHERE d.webhook_id = w.id AND d.status = 'dead') AS dead
FROM webhook w WHERE id = $1

-- name: webhooks
-- Read a page of $1 webhooks, newest first, starting after the webhook (created_at $2, id $3).
SELECT id, url, types, note, active, created_at, updated_at,
    (SELECT count(*) FROM webhook_delivery d WHERE d.webhook_id = w.id AND d.status = 'pending') AS pending,
    (SELECT count(*) FROM webhook_delivery d WHERE d.webhook_id = w.id AND d.status = 'dead') AS dead
FROM webhook w
WHERE $2::timestamptz IS NULL OR (created_at, id) < ($2, $3::text)
ORDER BY created_at DESC, id DESC
LIMIT $1

-- name: update_webhook
-- Change a webhook. A null argument leaves its column as it is. If the webhook becomes active, the time in which its
-- deliveries are repeated begins anew. The deliveries themselves stay as they are, because there may be many.
UPDATE webhook
SET url = coalesce($2, url), types = coalesce($3::text[], types), note = coalesce($4, note),
    active = coalesce($5, active), updated_at = clock_timestamp(),
    resumed_at = CASE WHEN $5 AND NOT active THEN clock_timestamp() ELSE resumed_at END
WHERE id = $1
RETURNING id

-- name: rotate_webhook_secret
-- Sign deliveries with the secret $2 from now on, and for $3 seconds with the present secret too.
UPDATE webhook
SET secret = $2, old_secret = CASE WHEN $3::double precision > 0 THEN secret END,
    old_secret_until = clock_timestamp() + $3::double precision * interval '1 second', updated_at = clock_timestamp()
WHERE id = $1
RETURNING id

-- name: forget_old_secrets
UPDATE webhook SET old_secret = NULL, old_secret_until = NULL WHERE old_secret_until <= clock_timestamp()

-- name: delete_webhook
DELETE FROM webhook WHERE id = $1
RETURNING id

-- name: add_delivery
INSERT INTO webhook_delivery (id, webhook_id, event_id, entity_id) VALUES ($1, $2, $3, $4)

-- name: deliveries
-- Read a page of $2 deliveries to a webhook, newest first, starting after the delivery (created_at $4, id $5). With $3,
-- only those with this status.
SELECT d.id, d.event_id, e.type, d.entity_id, d.status, d.attempts, d.created_at, d.due_at, d.delivered_at,
    d.response_status, d.error
FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.webhook_id = $1 AND ($3::text IS NULL OR d.status = $3)
    AND ($4::timestamptz IS NULL OR (d.created_at, d.id) < ($4, $5::text))
ORDER BY d.created_at DESC, d.id DESC
LIMIT $2

-- name: delivery
SELECT d.id, d.event_id, e.type, d.entity_id, d.status, d.attempts, d.created_at, d.due_at, d.delivered_at,
    d.response_status, d.error
FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.webhook_id = $1 AND d.id = $2

-- name: redeliver
-- Begin the attempts of a delivery again, after all other deliveries of its entity. Make the first of the other
-- deliveries due now, because it may have been put off until the next attempt at this delivery.
WITH again AS (
    UPDATE webhook_delivery
    SET status = 'pending', attempts = 0, number = nextval('webhook_delivery_number'), started_at = clock_timestamp(),
        due_at = clock_timestamp(), delivered_at = NULL
    WHERE webhook_id = $1 AND id = $2
    RETURNING id, webhook_id, entity_id
), released AS (
    UPDATE webhook_delivery d SET due_at = clock_timestamp()
    FROM again
    WHERE d.attempts = 0 AND d.id = (
        SELECT next.id FROM webhook_delivery next
        WHERE next.webhook_id = again.webhook_id AND next.entity_id = again.entity_id AND next.status = 'pending'
            AND next.id <> again.id
        ORDER BY next.number LIMIT 1
    )
)
SELECT id FROM again
