-- Backups, restores and the work that is left to do for them.

-- name: add_backup
INSERT INTO backup (
    id, state_type, backup_type, canvas_id, owner_id, parent_id, base_named, status, created_by, encrypted, format,
    version)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'running', $8, $9, $10, $11)

-- name: backup_record
SELECT * FROM backup WHERE id = $1

-- name: newest_backup
-- Read the newest complete backup of all canvases. The backup may also have the users. With $1, an adopted backup is
-- read if this database has made none.
SELECT id FROM backup
WHERE status = 'complete' AND state_type IN ('canvas', 'all') AND canvas_id IS NULL AND owner_id IS NULL
    AND (NOT adopted OR $1::boolean)
ORDER BY adopted, created_at DESC, id DESC
LIMIT 1

-- name: newest_backup_of_users
-- Read the newest complete backup with the users. An adopted backup is read if this database has made none.
SELECT id FROM backup
WHERE status = 'complete' AND state_type IN ('users', 'all')
ORDER BY adopted, created_at DESC, id DESC
LIMIT 1

-- name: backups_before
-- Read a page of $1 backups, newest first, starting after the backup (created_at $2, id $3).
SELECT * FROM backup
WHERE $2::timestamptz IS NULL OR (created_at, id) < ($2, $3::text)
ORDER BY created_at DESC, id DESC
LIMIT $1

-- name: lock_parent
-- Lock the backup $1, so that it is not deleted before a new backup builds on it. Read its status, its scope, and the
-- length of its chain, which includes the backup $1.
WITH RECURSIVE chain AS (
    SELECT p.id, p.parent_id, 1 AS place FROM backup p WHERE p.id = $1
    UNION ALL
    SELECT p.id, p.parent_id, c.place + 1 FROM backup p JOIN chain c ON p.id = c.parent_id
)
SELECT b.status, b.adopted, b.state_type, b.canvas_id, b.owner_id, (SELECT max(place) FROM chain) AS length
FROM backup b WHERE b.id = $1
FOR UPDATE OF b

-- name: suitable_parent
-- Of the complete backups of the same canvases, read the newest one that this database has made.
SELECT id FROM backup
WHERE status = 'complete' AND NOT adopted AND state_type = $1
    AND canvas_id IS NOT DISTINCT FROM $2 AND owner_id IS NOT DISTINCT FROM $3
ORDER BY created_at DESC, id DESC
LIMIT 1

-- name: mark_deleting
-- Mark a backup as being deleted. No row means that it is neither complete nor failed, or that another backup builds on
-- it.
UPDATE backup b SET status = 'deleting'
WHERE b.id = $1 AND b.status IN ('complete', 'failed')
    AND NOT EXISTS (SELECT FROM backup c WHERE c.parent_id = b.id)
RETURNING *

-- name: lock_backup
SELECT status FROM backup WHERE id = $1 FOR UPDATE

-- name: children_of
-- A failed backup counts, because it may have a manifest at the target.
SELECT id FROM backup WHERE parent_id = $1 ORDER BY created_at LIMIT 1

-- name: restore_of
-- Read a running restore of the backup $1, or of a backup that builds on it.
WITH RECURSIVE needed AS (
    SELECT b.id, b.parent_id, r.id AS restore_id FROM restore r JOIN backup b ON b.id = r.backup_id
    WHERE r.status = 'running'
    UNION ALL
    SELECT b.id, b.parent_id, n.restore_id FROM backup b JOIN needed n ON b.id = n.parent_id
)
SELECT restore_id FROM needed WHERE id = $1 LIMIT 1

-- name: remove_backup
DELETE FROM backup WHERE id = $1

-- name: record_manifest
-- Make the record of a backup that is complete at the target. $18 is true for a backup that this database has not made.
-- A backup that is running or has failed in this database becomes complete. All other records stay as they are, and
-- the result is then no row.
INSERT INTO backup (
    id, state_type, backup_type, canvas_id, owner_id, parent_id, status, adopted, created_by, created_at, finished_at,
    canvases_total, canvases, changed, users_total, users, objects, bytes, encrypted, format, version)
VALUES ($1, $2, $3, $4, $5, $6, 'complete', $18, $7, $8, $9, $10, $10, $11, $12, $12, $13, $14, $15, $16, $17)
ON CONFLICT (id) DO UPDATE SET
    backup_type = excluded.backup_type, parent_id = excluded.parent_id, status = 'complete',
    adopted = excluded.adopted, finished_at = excluded.finished_at, canvases_total = excluded.canvases_total,
    canvases = excluded.canvases, changed = excluded.changed, users_total = excluded.users_total,
    users = excluded.users, objects = excluded.objects, bytes = excluded.bytes, encrypted = excluded.encrypted,
    format = excluded.format, version = excluded.version, error = NULL
WHERE backup.status IN ('running', 'failed')
RETURNING id

-- name: known_backups
-- Of these ids, read those of the backups with a record. A failed backup counts as unknown, because its folder may
-- have a manifest that could not be read at that time.
SELECT id FROM backup WHERE id = ANY ($1::text[]) AND status <> 'failed'

-- name: add_task
-- Add work. No row means that the same work is not finished, or, for a backup or a restore, that another one is not
-- finished.
INSERT INTO backup_task (kind, subject_id) VALUES ($1, $2)
ON CONFLICT DO NOTHING
RETURNING id

-- name: lock_task
-- Lock a task, so that no replica ends it before the transaction ends. No row means that the task has ended.
SELECT id FROM backup_task WHERE kind = $1 AND subject_id = $2 FOR UPDATE

-- name: drop_task
DELETE FROM backup_task WHERE id = $1

-- name: task_of_kind
SELECT subject_id FROM backup_task WHERE kind = $1 ORDER BY id LIMIT 1

-- name: claim_task
-- Take the oldest work that no replica has, or that its replica has not renewed for $2 seconds. With $3, take only the
-- work for this subject. A renewal with a time more than $2 seconds after the clock does not count, because the clock
-- was set back.
UPDATE backup_task SET runner = $1, heartbeat_at = clock_timestamp(), attempts = attempts + 1
WHERE id = (
    SELECT id FROM backup_task
    WHERE (heartbeat_at IS NULL OR heartbeat_at < clock_timestamp() - make_interval(secs => $2)
            OR heartbeat_at > clock_timestamp() + make_interval(secs => $2))
        AND ($3::text IS NULL OR subject_id = $3)
    ORDER BY id LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, kind, subject_id, runner, attempts, position

-- name: renew_task
UPDATE backup_task SET heartbeat_at = clock_timestamp() WHERE id = $1 AND runner = $2
RETURNING id

-- name: set_task_position
UPDATE backup_task SET heartbeat_at = clock_timestamp(), position = $3 WHERE id = $1 AND runner = $2
RETURNING id

-- name: task_position
SELECT position FROM backup_task WHERE id = $1 AND runner = $2

-- name: release_task
UPDATE backup_task SET heartbeat_at = NULL, runner = NULL WHERE id = $1 AND runner = $2

-- name: end_task
DELETE FROM backup_task WHERE id = $1 AND runner = $2
RETURNING id

-- name: canvases_to_back_up
-- Read a page of $1 canvases after the id $2, in the order of the bytes of the ids, with their members. $3 selects one
-- canvas, and $4 those that a user owns. Leave out canvases that a restore has not completed, and those of which the
-- removal has begun, because both may lack content.
SELECT c.id, c.name, c.created_by, c.created_at, c.deleted_at, c.revision, coalesce(c.restored_by, '') AS lineage,
    coalesce((SELECT jsonb_object_agg(m.user_id, m.role) FROM canvas_member m WHERE m.canvas_id = c.id), '{}')::text
        AS members
FROM canvas c
WHERE c.id COLLATE "C" > $2 AND ($3::text IS NULL OR c.id = $3)
    AND (c.deleted_at = c.hidden_at) IS NOT TRUE AND c.purge_began_at IS NULL
    AND ($4::text IS NULL OR EXISTS (
        SELECT FROM canvas_member m WHERE m.canvas_id = c.id AND m.user_id = $4 AND m.role = 'owner'))
ORDER BY c.id COLLATE "C"
LIMIT $1

-- name: count_canvases_to_back_up
SELECT count(*) AS total FROM canvas c
WHERE ($1::text IS NULL OR c.id = $1) AND (c.deleted_at = c.hidden_at) IS NOT TRUE AND c.purge_began_at IS NULL
    AND ($2::text IS NULL OR EXISTS (
        SELECT FROM canvas_member m WHERE m.canvas_id = c.id AND m.user_id = $2 AND m.role = 'owner'))

-- name: canvas_exists
-- Read the id of a canvas that a backup can contain.
SELECT id FROM canvas WHERE id = $1 AND (deleted_at = hidden_at) IS NOT TRUE AND purge_began_at IS NULL

-- name: set_backup_totals
UPDATE backup SET canvases_total = $2, users_total = $3 WHERE id = $1

-- name: add_backup_object
INSERT INTO backup_object (backup_id, number, entry) VALUES ($1, $2, $3::text::jsonb)

-- name: backup_objects
SELECT number, entry::text AS entry FROM backup_object WHERE backup_id = $1 ORDER BY number

-- name: forget_backup_objects
DELETE FROM backup_object WHERE backup_id = $1 AND number >= $2

-- name: set_backup_progress
UPDATE backup SET canvases = $2, changed = $3, users = $4, objects = $5, bytes = $6 WHERE id = $1

-- name: drop_parent
-- Make an incremental backup a full one. No row means that the backup is a full one, or that its request named the
-- base.
UPDATE backup SET backup_type = 'full', parent_id = NULL WHERE id = $1 AND parent_id IS NOT NULL AND NOT base_named
RETURNING id

-- name: fail_backup
UPDATE backup SET status = 'failed', finished_at = clock_timestamp(), error = $2 WHERE id = $1 AND status = 'running'

-- name: set_verification
UPDATE backup SET verification = $2::text::jsonb WHERE id = $1
RETURNING *

-- name: backup_figures
-- Read the figures of the metrics, which are 0 without such a backup or restore:
-- `last_success`: the time at which this database's newest complete backup of all canvases began, in Unix seconds.
-- `backup_progress`, `restore_progress`: the finished part of the running backup and restore, from 0 to 1.
SELECT
    coalesce((
        SELECT extract(epoch FROM max(created_at)) FROM backup
        WHERE status = 'complete' AND NOT adopted AND state_type IN ('canvas', 'all')
            AND canvas_id IS NULL AND owner_id IS NULL
    ), 0)::float8 AS last_success,
    coalesce((
        SELECT max(least(1, (canvases + users)::float8 / greatest(1, canvases_total + users_total))) FROM backup
        WHERE status = 'running'
    ), 0) AS backup_progress,
    coalesce((
        SELECT max(least(1, canvases::float8 / greatest(1, canvases_total))) FROM restore WHERE status = 'running'
    ), 0) AS restore_progress

-- name: backups_for_retention
SELECT id, parent_id, status, created_at, adopted, concat_ws('/', state_type, canvas_id, owner_id) AS scope
FROM backup
ORDER BY created_at DESC, id DESC

-- name: add_restore
INSERT INTO restore (id, backup_id, canvas_id, status, requested_by) VALUES ($1, $2, $3, 'running', $4)
RETURNING *

-- name: restore_record
SELECT * FROM restore WHERE id = $1

-- name: restores_before
-- Read a page of $1 restores, newest first, starting after the restore (created_at $2, id $3).
SELECT * FROM restore
WHERE $2::timestamptz IS NULL OR (created_at, id) < ($2, $3::text)
ORDER BY created_at DESC, id DESC
LIMIT $1

-- name: remove_old_restored_canvases
-- Delete at most $2 canvases in the records of the restores that ended more than $1 days ago. Return their number.
WITH gone AS (
    DELETE FROM restored_canvas WHERE (restore_id, canvas_id) IN (
        SELECT c.restore_id, c.canvas_id FROM restore r JOIN restored_canvas c ON c.restore_id = r.id
        WHERE r.finished_at < clock_timestamp() - make_interval(days => $1)
        LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: remove_old_restores
-- Delete at most $2 records of restores that ended more than $1 days ago and have no canvases. Return their number.
WITH gone AS (
    DELETE FROM restore WHERE id IN (
        SELECT r.id FROM restore r
        WHERE r.finished_at < clock_timestamp() - make_interval(days => $1)
            AND NOT EXISTS (SELECT FROM restored_canvas c WHERE c.restore_id = r.id)
        LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: restored_canvases
-- Read a page of $2 canvases of a restore after the id $3, all or those with the outcome $4.
SELECT canvas_id, outcome, detail FROM restored_canvas
WHERE restore_id = $1 AND ($3::text IS NULL OR canvas_id > $3) AND ($4::text IS NULL OR outcome = $4)
ORDER BY canvas_id
LIMIT $2

-- name: note_verified
UPDATE restore SET verified = true, canvases_total = $2 WHERE id = $1

-- name: note_restored_users
UPDATE restore SET users_added = users_added + $2, users_kept = users_kept + $3, users_refused = users_refused + $4,
    error = $5
WHERE id = $1

-- name: note_restored_canvas
INSERT INTO restored_canvas (restore_id, canvas_id, outcome, detail) VALUES ($1, $2, $3, $4)
ON CONFLICT (restore_id, canvas_id) DO UPDATE SET outcome = excluded.outcome, detail = excluded.detail

-- name: add_restored_canvas
UPDATE restore SET canvases = canvases + 1, failed = failed + $2 WHERE id = $1

-- name: finish_restore
UPDATE restore SET finished_at = clock_timestamp(), error = $3, status = CASE
    WHEN $2::text IS NOT NULL THEN $2
    WHEN failed > 0 OR users_refused > 0 THEN 'partial'
    ELSE 'complete' END
WHERE id = $1 AND status = 'running'
RETURNING *

-- name: discard_unfinished_canvas
-- Delete a canvas that a restore other than $2 has created and not completed. No client has opened this canvas.
WITH gone AS (
    DELETE FROM canvas
    WHERE id = $1 AND deleted_at = hidden_at AND restored_by <> $2 AND purge_began_at IS NULL
    RETURNING id
), entries AS (
    DELETE FROM journal WHERE canvas_id IN (SELECT id FROM gone)
), snapshots AS (
    DELETE FROM snapshot WHERE canvas_id IN (SELECT id FROM gone)
)
DELETE FROM canvas_member WHERE canvas_id IN (SELECT id FROM gone)

-- name: create_hidden_canvas
-- Create a canvas as a backup has it, without content. It counts as deleted until reveal_canvas, so that no client
-- opens it before it has its content.
INSERT INTO canvas (id, name, created_by, created_at, updated_at, deleted_at, hidden_at, restored_by)
VALUES ($1, $2, $3, $4, greatest($4::timestamptz, clock_timestamp()), now(), now(), $5)
ON CONFLICT DO NOTHING
RETURNING id

-- name: reveal_canvas
-- Complete a canvas that the restore $3 has created, and return its members. No row means that the canvas was removed
-- meanwhile. If the canvas is deleted in the backup ($2), its retention begins anew, so that it can be undeleted.
UPDATE canvas SET deleted_at = CASE WHEN $2::boolean THEN clock_timestamp() END
WHERE id = $1 AND restored_by = $3 AND purge_began_at IS NULL
RETURNING coalesce(
    (SELECT jsonb_object_agg(user_id, role) FROM canvas_member WHERE canvas_id = $1), '{}'
)::text AS members

-- name: canvas_to_restore
-- Read the name and the state of a canvas. `purging` is true when its removal for good has begun.
SELECT c.name, c.deleted_at, coalesce(c.restored_by, '') AS restored_by,
    c.purge_began_at IS NOT NULL AS purging
FROM canvas c WHERE c.id = $1

-- name: add_restored_members
INSERT INTO canvas_member (canvas_id, user_id, role)
SELECT $1, entry.key, entry.value FROM jsonb_each_text($2::text::jsonb) AS entry

-- name: undelete_canvas
-- Give a canvas the name $2, and undo its deletion. Return which of the two has changed something, or no row.
WITH before AS (
    SELECT id, deleted_at IS NOT NULL AS deleted, name <> $2 AS renamed FROM canvas WHERE id = $1 FOR UPDATE
)
UPDATE canvas SET deleted_at = NULL, name = $2, updated_at = greatest(updated_at, clock_timestamp())
FROM before
WHERE canvas.id = before.id AND (before.deleted OR before.renamed) AND purge_began_at IS NULL
RETURNING before.deleted AS undeleted, before.renamed AS renamed
