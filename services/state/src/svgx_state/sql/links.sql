-- The named statements about share links.

-- name: lock_links
-- Let requests for new links of one canvas wait for each other, because they could otherwise exceed the limit together.
SELECT pg_advisory_xact_lock(hashtext('svgx.state.links'), hashtext($1))

-- name: lock_shared_canvas
-- Keep a canvas from being purged until the transaction ends. Return no row for an unknown or deleted canvas.
SELECT id FROM canvas WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE

-- name: lock_sharer
-- Read the role of the user $2 as a member of the canvas $1. A change of the role waits until the transaction ends, and
-- then finds the link.
SELECT role FROM canvas_member WHERE canvas_id = $1 AND user_id = $2 FOR SHARE

-- name: count_links
-- Count the live links of a canvas.
SELECT count(*) AS live FROM share_link
WHERE canvas_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: create_link
-- Create a link, unless $8 has passed.
INSERT INTO share_link (id, canvas_id, role, label, prefix, hash, created_by, expires_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8::timestamptz
WHERE $8::timestamptz IS NULL OR $8::timestamptz > clock_timestamp()
RETURNING id, canvas_id, role, label, prefix, created_by, created_at, expires_at

-- name: links_before
-- Read a page of $2 live links of a canvas, newest first, starting after the link (created_at $3, id $4).
SELECT id, canvas_id, role, label, prefix, created_by, created_at, expires_at FROM share_link
WHERE canvas_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::text))
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: end_link
DELETE FROM share_link WHERE id = $2 AND canvas_id = $1
RETURNING id, role, created_by

-- name: end_links_of
-- Remove the links to the canvas $1 that were created by the user $2, and return the ids of those that were live.
WITH ended AS (
    DELETE FROM share_link WHERE canvas_id = $1 AND created_by = $2
    RETURNING id, expires_at
)
SELECT id FROM ended WHERE expires_at IS NULL OR expires_at > clock_timestamp()

-- name: link_of_token
SELECT id, canvas_id, created_by, extract(epoch FROM expires_at)::float8 AS expires FROM share_link
WHERE hash = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: live_link
-- Read a live link, with the role that its creator has as a member of its canvas (null without a role).
SELECT l.canvas_id, l.role, l.created_by, m.role AS creator_role
FROM share_link l LEFT JOIN canvas_member m ON m.canvas_id = l.canvas_id AND m.user_id = l.created_by
WHERE l.id = $1 AND (l.expires_at IS NULL OR l.expires_at > clock_timestamp())

-- name: canvases_shared_by
-- Read the ids of the canvases for which these users created links.
SELECT DISTINCT canvas_id FROM share_link WHERE created_by = ANY ($1::text[])

-- name: forget_links
-- Remove at most $1 links that have expired. Return their number.
WITH gone AS (
    DELETE FROM share_link WHERE id IN (
        SELECT id FROM share_link WHERE expires_at < clock_timestamp() LIMIT $1
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone
