-- The named statements that replace a user by a pseudonym. Each changes a bounded number of rows.

-- name: begin_erasure
INSERT INTO erasure (pseudonym, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: lock_erasure
SELECT user_id, canvas_id, revision, touched::text AS touched, finished_at IS NOT NULL AS finished
FROM erasure WHERE pseudonym = $1
FOR UPDATE

-- name: note_erasure
-- Record the position in the journal, and the changed rows by table.
UPDATE erasure SET canvas_id = $2, revision = $3, touched = $4::text::jsonb WHERE pseudonym = $1

-- name: finish_erasure
UPDATE erasure SET finished_at = clock_timestamp(), user_id = NULL WHERE pseudonym = $1

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
-- Remove at most $3 share links that the user $1 created. $2 is not used.
WITH changed AS (
    DELETE FROM share_link WHERE $2::text IS NOT NULL
        AND id IN (SELECT id FROM share_link WHERE created_by = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_configuration
WITH changed AS (
    UPDATE configuration SET changed_by = $2
    WHERE name IN (SELECT name FROM configuration WHERE changed_by = $1 LIMIT $3) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_authors
-- Replace the author $1 by the pseudonym $2 in the $5 journal entries after the entry (canvas_id $3, revision $4), in
-- the order of the journal's key. Return the last of these entries, without an entry null. No canvas is locked, so no
-- append waits.
WITH slice AS MATERIALIZED (
    SELECT canvas_id, revision, at, $1 = ANY (authors) AS theirs FROM journal
    WHERE (canvas_id, revision) > ($3, $4)
    ORDER BY canvas_id, revision
    LIMIT $5
), changed AS (
    UPDATE journal j SET authors = array_replace(j.authors, $1, $2)
    FROM slice s
    WHERE s.theirs AND j.canvas_id = s.canvas_id AND j.revision = s.revision AND j.at = s.at
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM changed) AS rows,
    (SELECT canvas_id FROM slice ORDER BY canvas_id DESC, revision DESC LIMIT 1) AS canvas_id,
    (SELECT revision FROM slice ORDER BY canvas_id DESC, revision DESC LIMIT 1) AS revision
