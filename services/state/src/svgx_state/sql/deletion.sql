-- The named statements about deleted canvases: list, restore, purge.

-- name: deleted_canvases
-- Read a page of deleted canvases: those that the user $1 owns, or with $6 all. $2 to $5 are as in canvases_of_user.
-- Leave out canvases that a restore has not completed, because they may lack their content.
SELECT c.id, c.name, c.revision, c.created_at, c.updated_at, c.deleted_at, m.role
FROM canvas c LEFT JOIN canvas_member m ON m.canvas_id = c.id AND m.user_id = $1
WHERE c.deleted_at IS NOT NULL AND c.purge_began_at IS NULL AND (c.deleted_at = c.hidden_at) IS NOT TRUE
    AND ($6 OR m.role = 'owner')
    AND ($2::text IS NULL OR strpos(lower(normalize(c.name)), lower(normalize($2))) > 0)
    AND ($4::timestamptz IS NULL OR (c.created_at, c.id) < ($4, $5::text))
ORDER BY c.created_at DESC, c.id DESC
LIMIT $3

-- name: any_canvas
-- Read a canvas, deleted or not, with the user's role on it (null without a role).
SELECT c.created_by, c.deleted_at, c.purge_began_at, m.role
FROM canvas c LEFT JOIN canvas_member m ON m.canvas_id = c.id AND m.user_id = $2
WHERE c.id = $1

-- name: lock_deleted
-- Lock a canvas until the transaction ends, if it is deleted, its removal has not begun, and no restore has left it
-- unfinished.
SELECT id FROM canvas
WHERE id = $1 AND deleted_at IS NOT NULL AND purge_began_at IS NULL AND (deleted_at = hidden_at) IS NOT TRUE
FOR NO KEY UPDATE

-- name: restore_canvas
UPDATE canvas SET deleted_at = NULL WHERE id = $1

-- name: begin_purge
-- Begin the removal of a deleted canvas, unless a running restore creates it at present.
UPDATE canvas c SET purge_began_at = coalesce(c.purge_began_at, clock_timestamp())
WHERE c.id = $1 AND c.deleted_at IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM restore r WHERE r.id = c.restored_by AND r.status = 'running' AND c.deleted_at = c.hidden_at)
RETURNING c.id

-- name: claim_purge
-- Keep other replicas from purging in the background until the transaction ends. Return false when another one purges.
SELECT pg_try_advisory_xact_lock(hashtext('svgx.state.purge')) AS claimed

-- name: begun_purge
-- Find the canvas that was deleted first of those of which the removal has begun. Leave out a canvas that a running
-- restore creates at present. Lock the canvas, so that it is not restored and deleted again before begin_purge.
SELECT c.id FROM canvas c
WHERE c.purge_began_at IS NOT NULL AND c.deleted_at IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM restore r WHERE r.id = c.restored_by AND r.status = 'running' AND c.deleted_at = c.hidden_at)
ORDER BY c.deleted_at
LIMIT 1
FOR UPDATE OF c

-- name: due_purge
-- Find the canvas that was deleted first, if this was more than $1 days ago. Leave out and lock canvases as begun_purge
-- does. The condition has now() because PostgreSQL uses no index for a condition with clock_timestamp().
SELECT c.id FROM canvas c
WHERE c.deleted_at < now() - make_interval(days => $1)
    AND NOT EXISTS (
        SELECT FROM restore r WHERE r.id = c.restored_by AND r.status = 'running' AND c.deleted_at = c.hidden_at)
ORDER BY c.deleted_at
LIMIT 1
FOR UPDATE OF c

-- name: lock_purge
-- Lock a canvas until the transaction ends, if its removal has begun. Appends and new rows that refer to the canvas
-- wait for the end.
SELECT id FROM canvas WHERE id = $1 AND deleted_at IS NOT NULL AND purge_began_at IS NOT NULL FOR UPDATE

-- name: purge_journal
-- Delete rows by their physical places (ctid), so that they need not be searched again. Rows of the canvas in two
-- partitions may have the same place. Then both rows are deleted.
WITH gone AS (
    DELETE FROM journal WHERE canvas_id = $1
        AND ctid = ANY (ARRAY(SELECT ctid FROM journal WHERE canvas_id = $1 LIMIT $2))
    RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_snapshots
WITH gone AS (
    DELETE FROM snapshot WHERE (canvas_id, through_revision) IN (
        SELECT canvas_id, through_revision FROM snapshot WHERE canvas_id = $1 LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_members
WITH gone AS (
    DELETE FROM canvas_member WHERE (canvas_id, user_id) IN (
        SELECT canvas_id, user_id FROM canvas_member WHERE canvas_id = $1 LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_links
WITH gone AS (
    DELETE FROM share_link WHERE id IN (SELECT id FROM share_link WHERE canvas_id = $1 LIMIT $2) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_versions
WITH gone AS (
    DELETE FROM version WHERE ctid = ANY (ARRAY(SELECT ctid FROM version WHERE canvas_id = $1 LIMIT $2)) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_quarantine
WITH gone AS (
    DELETE FROM quarantine WHERE ctid = ANY (ARRAY(SELECT ctid FROM quarantine WHERE canvas_id = $1 LIMIT $2)) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_writers
WITH gone AS (
    DELETE FROM journal_writer WHERE ctid = ANY (ARRAY(SELECT ctid FROM journal_writer WHERE canvas_id = $1 LIMIT $2)) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_usage
WITH gone AS (
    DELETE FROM canvas_usage WHERE ctid = ANY (ARRAY(SELECT ctid FROM canvas_usage WHERE canvas_id = $1 LIMIT $2)) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_sizes
WITH gone AS (
    DELETE FROM canvas_size WHERE ctid = ANY (ARRAY(SELECT ctid FROM canvas_size WHERE canvas_id = $1 LIMIT $2)) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: purge_canvas
-- Delete the canvas's own row, and return its id. A canvas that was created within the last day leaves its id, its
-- creator and this time, because it still counts towards the number of canvases that its creator has created in an hour
-- and in a day.
--
-- Delete nothing while the canvas has rows in `journal` or `quarantine`, because these tables have no foreign key. A row
-- remains when an erasure changes it while purge_journal or purge_quarantine waits for the row: its place is then a new
-- one.
WITH gone AS (
    DELETE FROM canvas WHERE id = $1
        AND NOT EXISTS (SELECT FROM journal WHERE canvas_id = $1)
        AND NOT EXISTS (SELECT FROM quarantine WHERE canvas_id = $1)
    RETURNING id, created_by, created_at
), noted AS (
    INSERT INTO purged_canvas (canvas_id, created_by, created_at)
    SELECT id, created_by, created_at FROM gone WHERE created_at > now() - interval '1 day'
    ON CONFLICT DO NOTHING
)
SELECT id FROM gone
