-- The statements of the quotas. A day is a day of UTC.

-- name: add_usage
-- Add the bytes of each account ($2, $3) and each canvas ($4, $5) to those of the day $1, and return the new sums.
--
-- $6, $7 and $8 are share links, their canvases, and the bytes that visitors with the links sent. These bytes are added
-- to the account that created the link, or to the account that created the canvas if the link has ended meanwhile.
-- The rows are in the order of their ids, so that two calls lock them in the same order.
WITH added AS (
    SELECT one.id, one.bytes FROM unnest($2::text[], $3::bigint[]) AS one (id, bytes)
    UNION ALL
    SELECT coalesce(l.created_by, c.created_by), one.bytes
    FROM unnest($6::text[], $7::text[], $8::bigint[]) AS one (link_id, canvas_id, bytes)
    JOIN canvas c ON c.id = one.canvas_id
    LEFT JOIN share_link l ON l.id = one.link_id
), account AS (
    INSERT INTO account_usage AS u (day, user_id, journal_bytes)
    SELECT $1::date, added.id, sum(added.bytes)::bigint FROM added GROUP BY added.id ORDER BY added.id
    ON CONFLICT (day, user_id) DO UPDATE SET journal_bytes = u.journal_bytes + excluded.journal_bytes
    RETURNING u.user_id AS id, u.journal_bytes
), canvas_day AS (
    INSERT INTO canvas_usage AS u (day, canvas_id, journal_bytes)
    SELECT $1::date, c.id, added.bytes FROM unnest($4::text[], $5::bigint[]) AS added (id, bytes)
    JOIN canvas c ON c.id = added.id
    ORDER BY c.id
    ON CONFLICT (day, canvas_id) DO UPDATE SET journal_bytes = u.journal_bytes + excluded.journal_bytes
    RETURNING u.canvas_id AS id, u.journal_bytes
), size AS (
    INSERT INTO canvas_size (canvas_id, content_bytes)
    SELECT c.id, coalesce(octet_length(s.update), 0) + c.bytes - c.snapshot_bytes
    FROM canvas c LEFT JOIN LATERAL (
        SELECT update FROM snapshot WHERE canvas_id = c.id ORDER BY through_revision DESC LIMIT 1
    ) s ON true
    WHERE c.id = ANY ($4::text[])
    ORDER BY c.id
    ON CONFLICT (canvas_id) DO UPDATE SET content_bytes = excluded.content_bytes
    RETURNING canvas_id AS id, content_bytes
)
SELECT true AS is_account, id, journal_bytes, 0::bigint AS content_bytes FROM account
UNION ALL
SELECT false, id, canvas_day.journal_bytes, coalesce(size.content_bytes, 0)
FROM canvas_day LEFT JOIN size USING (id)

-- name: drop_old_usage
-- Delete the use of days before $1, the rows of removed canvases that were created more than a day ago, and the sizes
-- and the use of canvases that do not exist any more. Such a row remains when add_usage runs at the same time as the
-- last step of the canvas's removal.
WITH account AS (
    DELETE FROM account_usage WHERE day < $1
), purged AS (
    DELETE FROM purged_canvas WHERE created_at < now() - interval '1 day'
), size AS (
    DELETE FROM canvas_size s WHERE NOT EXISTS (SELECT FROM canvas c WHERE c.id = s.canvas_id)
)
DELETE FROM canvas_usage u WHERE day < $1 OR NOT EXISTS (SELECT FROM canvas c WHERE c.id = u.canvas_id)

-- name: large_use
-- Read the accounts with at least $2 bytes on the day $1, and the canvases with at least $3 bytes on that day or with at
-- least $4 bytes of content. The content is measured again, because a compaction may have made it smaller. The largest
-- ones are returned: $5 accounts, $5 canvases by their bytes of the day, and $5 canvases by their content.
--
-- The accounts $6 and the canvases $7 have bounds of their own, so they are returned with any use. They may also be
-- among the largest ones, so the limits are higher by their number.
WITH account AS (
    (SELECT user_id AS id, journal_bytes FROM account_usage WHERE day = $1 AND journal_bytes >= $2
    ORDER BY journal_bytes DESC LIMIT $5 + cardinality($6::text[]))
    UNION
    SELECT user_id, journal_bytes FROM account_usage WHERE day = $1 AND user_id = ANY ($6::text[])
), named AS (
    (SELECT canvas_id AS id FROM canvas_usage WHERE day = $1 AND journal_bytes >= $3
    ORDER BY journal_bytes DESC LIMIT $5 + cardinality($7::text[]))
    UNION
    (SELECT canvas_id FROM canvas_size WHERE content_bytes >= $4
    ORDER BY content_bytes DESC LIMIT $5 + cardinality($7::text[]))
    UNION
    SELECT unnest($7::text[])
)
SELECT true AS is_account, id, journal_bytes, 0::bigint AS content_bytes FROM account
UNION ALL
SELECT false, c.id, coalesce(u.journal_bytes, 0),
    coalesce(octet_length(s.update), 0) + c.bytes - c.snapshot_bytes
FROM named
JOIN canvas c ON c.id = named.id AND c.deleted_at IS NULL
LEFT JOIN canvas_usage u ON u.day = $1 AND u.canvas_id = c.id
LEFT JOIN LATERAL (
    SELECT update FROM snapshot WHERE canvas_id = c.id ORDER BY through_revision DESC LIMIT 1
) s ON true

-- name: account_use
-- Read the bytes that account $1 added on the day $2, and count the canvases that it created: the canvases that are not
-- deleted, those of the last hour, and those of the last day. For the hour and the day, also read the time at which the
-- oldest of these canvases was created. Canvases that were removed for good count in the hour and the day. A canvas that
-- a restore of a backup has created again counts once.
WITH created AS (
    SELECT created_at, deleted_at FROM canvas
    WHERE created_by = $1 AND (deleted_at IS NULL OR created_at > now() - interval '1 day')
    UNION ALL
    SELECT p.created_at, p.created_at FROM purged_canvas p
    WHERE p.created_by = $1 AND p.created_at > now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM canvas c WHERE c.id = p.canvas_id)
)
SELECT
    coalesce((SELECT journal_bytes FROM account_usage WHERE day = $2 AND user_id = $1), 0) AS journal_bytes,
    count(*) FILTER (WHERE deleted_at IS NULL) AS canvases,
    count(*) FILTER (WHERE created_at > now() - interval '1 hour') AS in_hour,
    min(created_at) FILTER (WHERE created_at > now() - interval '1 hour') AS hour_since,
    count(*) FILTER (WHERE created_at > now() - interval '1 day') AS in_day,
    min(created_at) FILTER (WHERE created_at > now() - interval '1 day') AS day_since
FROM created

-- name: canvas_use
-- Read the bytes that edits added to a canvas on the day $2, and the bytes of its content.
SELECT coalesce(u.journal_bytes, 0) AS journal_bytes,
    coalesce(octet_length(s.update), 0) + c.bytes - c.snapshot_bytes AS content_bytes
FROM canvas c
LEFT JOIN canvas_usage u ON u.day = $2 AND u.canvas_id = c.id
LEFT JOIN LATERAL (
    SELECT update FROM snapshot WHERE canvas_id = c.id ORDER BY through_revision DESC LIMIT 1
) s ON true
WHERE c.id = $1 AND c.deleted_at IS NULL

-- name: lock_creator
-- Let one transaction at a time create canvases for an account, or restore canvases that it created. Otherwise,
-- simultaneous transactions would not count each other's canvases.
SELECT pg_advisory_xact_lock(hashtext('svgx.state.create_canvas'), hashtext($1))

-- name: top_accounts
SELECT user_id AS id, journal_bytes FROM account_usage WHERE day = $1
ORDER BY journal_bytes DESC, user_id LIMIT $2

-- name: top_canvases
SELECT canvas_id AS id, journal_bytes FROM canvas_usage WHERE day = $1
ORDER BY journal_bytes DESC, canvas_id LIMIT $2

-- name: existing_canvases
-- Read those of the canvas ids $1 that exist. A deleted canvas exists until its removal.
SELECT id FROM canvas WHERE id = ANY ($1::text[])
