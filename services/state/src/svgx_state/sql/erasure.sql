-- The named statements that replace a user by a pseudonym. Each changes a bounded number of rows.

-- name: begin_erasure
-- Begin an erasure, or note the new owner $3 of the user's canvases in one that has begun and has not ended.
INSERT INTO erasure (pseudonym, user_id, transfer_to) VALUES ($1, $2, $3)
ON CONFLICT (pseudonym) DO UPDATE SET transfer_to = excluded.transfer_to
    WHERE erasure.user_id IS NOT NULL AND excluded.transfer_to IS NOT NULL

-- name: lock_erasure
SELECT canvas_id, revision, touched::text AS touched, began_at, finished_at IS NOT NULL AS finished, transfer_to
FROM erasure WHERE pseudonym = $1
FOR UPDATE

-- name: is_erased
-- Return a row when the first pass of an erasure has ended. `may_close` is true when it ended more than $2 seconds ago.
SELECT finished_at < clock_timestamp() - make_interval(secs => $2) AS may_close
FROM erasure WHERE pseudonym = $1 AND finished_at IS NOT NULL

-- name: note_erasure
-- Record the position in the journal, and the number of changed rows of each table.
UPDATE erasure SET canvas_id = $2, revision = $3, touched = $4::text::jsonb WHERE pseudonym = $1

-- name: finish_erasure
-- Note that the first pass has ended. The last pass begins at the first canvas again.
UPDATE erasure SET finished_at = clock_timestamp(), canvas_id = '', revision = 0 WHERE pseudonym = $1

-- name: begin_last_pass
-- Begin at the first canvas, because an earlier pass may have stopped at another canvas. After close_erasure deleted
-- the user's id, keep the position instead. Each later request for the same erasure then continues at the position of
-- the request before it, and several requests together look at all canvases.
UPDATE erasure SET canvas_id = '', revision = 0 WHERE pseudonym = $1 AND user_id IS NOT NULL

-- name: end_late_pass
-- Keep the user's id, because late edits may follow. The next pass begins at the first canvas again.
UPDATE erasure SET canvas_id = '', revision = 0 WHERE pseudonym = $1

-- name: close_erasure
-- Forget the user and the new owner after the last pass.
UPDATE erasure SET user_id = NULL, transfer_to = NULL, canvas_id = '', revision = 0 WHERE pseudonym = $1

-- name: erasure_to_close
-- Read the oldest erasure of which the first pass ended more than $1 seconds ago, and the last pass has not ended.
SELECT pseudonym, user_id FROM erasure
WHERE user_id IS NOT NULL AND finished_at < clock_timestamp() - make_interval(secs => $1)
ORDER BY finished_at LIMIT 1

-- name: canvases_to_leave
-- Read at most $2 canvases of which the user $1 is a member.
SELECT canvas_id FROM canvas_member WHERE user_id = $1 ORDER BY canvas_id LIMIT $2

-- name: lock_owners_of
-- Lock the owners of these canvases, as lock_owners does.
SELECT canvas_id, user_id FROM canvas_member
WHERE canvas_id = ANY ($1::text[]) AND role = 'owner'
ORDER BY canvas_id, user_id
FOR UPDATE

-- name: give_canvases
-- Make the user $2 an owner of these canvases.
INSERT INTO canvas_member (canvas_id, user_id, role) SELECT unnest($1::text[]), $2, 'owner'
ON CONFLICT (canvas_id, user_id) DO UPDATE SET role = 'owner'

-- name: delete_canvases
UPDATE canvas SET deleted_at = clock_timestamp() WHERE id = ANY ($1::text[]) AND deleted_at IS NULL
RETURNING id

-- name: leave_canvases
-- Remove the user $1 from these canvases.
DELETE FROM canvas_member WHERE user_id = $1 AND canvas_id = ANY ($2::text[])

-- name: erase_creator
-- Replace the creator $1 of at most $3 canvases by the pseudonym $2.
WITH changed AS (
    UPDATE canvas SET created_by = $2 WHERE id IN (SELECT id FROM canvas WHERE created_by = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_links
-- Remove at most $3 share links that the user $1 created. The pseudonym $2 has no effect. It is a parameter because all
-- erase statements of whole tables take the same three.
WITH changed AS (
    DELETE FROM share_link WHERE $2::text IS NOT NULL
        AND id IN (SELECT id FROM share_link WHERE created_by = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_configuration
-- A changed value gets a new version, so that no admin stores the earlier value, with the user's id, again. UPDATE
-- repeats the condition, because an admin may change the value after the sub-select was read.
WITH changed AS (
    UPDATE configuration SET changed_by = CASE WHEN changed_by = $1 THEN $2 ELSE changed_by END,
        version = version + (strpos(value::text, to_jsonb($1::text)::text) > 0)::integer,
        value = replace(value::text, to_jsonb($1::text)::text, to_jsonb($2::text)::text)::jsonb
    WHERE (changed_by = $1 OR strpos(value::text, to_jsonb($1::text)::text) > 0) AND name IN (
        SELECT name FROM configuration
        WHERE changed_by = $1 OR strpos(value::text, to_jsonb($1::text)::text) > 0
        LIMIT $3
    ) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: canvases_from
-- Read $2 canvases from the id $1 on, with their newest revisions. With $3, leave out canvases that were not changed
-- since that time. A new name is a change too.
SELECT id, revision FROM canvas
WHERE id >= $1 AND ($3::timestamptz IS NULL OR updated_at >= $3)
ORDER BY id LIMIT $2

-- name: erase_authors
-- Replace the author $1 by the pseudonym $2 in the journal entries of the canvas $3 after revision $4, up to revision
-- $5. The canvas is not locked, so no append waits. The conditions on `revision >> 8` let PostgreSQL use the index of
-- the journal.
WITH changed AS (
    UPDATE journal SET authors = array_replace(authors, $1, $2)
    WHERE canvas_id = $3 AND revision > $4 AND revision <= $5
        AND revision >> 8 BETWEEN $4::bigint >> 8 AND $5::bigint >> 8
        AND $1 = ANY (authors)
    RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_versions
WITH changed AS (
    UPDATE version SET created_by = CASE WHEN created_by = $1 THEN $2 ELSE created_by END,
        authors = array_replace(authors, $1, $2)
    WHERE id IN (SELECT id FROM version WHERE created_by = $1 OR $1 = ANY (authors) LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_quarantine
WITH changed AS (
    UPDATE quarantine SET authors = array_replace(authors, $1, $2)
    WHERE id IN (SELECT id FROM quarantine WHERE $1 = ANY (authors) LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_usage
-- Remove at most $3 counts of the user $1. As in erase_links, the pseudonym $2 has no effect.
WITH changed AS (
    DELETE FROM account_usage WHERE $2::text IS NOT NULL
        AND (day, user_id) IN (SELECT day, user_id FROM account_usage WHERE user_id = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_purged_canvases
-- Remove at most $3 rows of canvases that the user $1 created. As in erase_links, the pseudonym $2 has no effect.
WITH changed AS (
    DELETE FROM purged_canvas WHERE $2::text IS NOT NULL
        AND canvas_id IN (SELECT canvas_id FROM purged_canvas WHERE created_by = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_backups
WITH changed AS (
    UPDATE backup SET created_by = CASE WHEN created_by = $1 THEN $2 ELSE created_by END,
        owner_id = CASE WHEN owner_id = $1 THEN $2 ELSE owner_id END
    WHERE id IN (SELECT id FROM backup WHERE created_by = $1 OR owner_id = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_restores
-- `error` may name the user as an account that was not added: ` <id> (<field>)`.
WITH changed AS (
    UPDATE restore SET requested_by = CASE WHEN requested_by = $1 THEN $2 ELSE requested_by END,
        error = replace(error, ' ' || $1 || ' (', ' ' || $2 || ' (')
    WHERE id IN (
        SELECT id FROM restore WHERE requested_by = $1 OR strpos(error, ' ' || $1 || ' (') > 0 LIMIT $3
    ) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_webhooks
WITH changed AS (
    UPDATE webhook SET created_by = $2
    WHERE id IN (SELECT id FROM webhook WHERE created_by = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_events
-- The user's own event `user.erased` keeps the user's id, because receivers find the data that they erase by this id.
WITH changed AS (
    UPDATE event SET actor = CASE WHEN actor = $1 THEN $2 ELSE actor END,
        entity_id = CASE WHEN entity_id = $1 THEN $2 ELSE entity_id END,
        data = replace(data::text, to_jsonb($1::text)::text, to_jsonb($2::text)::text)::jsonb
    WHERE id IN (
        SELECT id FROM event
        WHERE NOT (type = 'user.erased' AND entity_id = $1)
            AND (actor = $1 OR entity_id = $1 OR strpos(data::text, to_jsonb($1::text)::text) > 0)
        LIMIT $3
    ) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_deliveries
-- As in erase_events, the deliveries of `user.erased` keep the user's id.
WITH changed AS (
    UPDATE webhook_delivery SET entity_id = $2
    WHERE id IN (
        SELECT d.id FROM webhook_delivery d JOIN event e ON e.id = d.event_id
        WHERE d.entity_id = $1 AND e.type <> 'user.erased'
        LIMIT $3
    ) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_transfers
-- Forget the user $1 as the new owner in at most $3 erasures of other users. As in erase_links, the pseudonym $2 has no
-- effect.
WITH changed AS (
    UPDATE erasure SET transfer_to = NULL WHERE $2::text IS NOT NULL
        AND pseudonym IN (SELECT pseudonym FROM erasure WHERE transfer_to = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed
