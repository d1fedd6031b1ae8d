-- The named statements for canvases, members, the journal and configuration. Times are timestamptz, and ids are text.

-- name: create_canvas
-- Create a canvas. The creator becomes its owner.
WITH created AS (
    INSERT INTO canvas (id, name, created_by) VALUES ($1, $2, $3)
    RETURNING id, name, revision, created_at, updated_at
), owner AS (
    INSERT INTO canvas_member (canvas_id, user_id, role) SELECT id, $3, 'owner' FROM created
)
SELECT * FROM created

-- name: canvas_for
-- Read a canvas that is not deleted, with the user's role on it (null without a role).
SELECT c.id, c.name, c.revision, c.created_at, c.updated_at, m.role
FROM canvas c LEFT JOIN canvas_member m ON m.canvas_id = c.id AND m.user_id = $2
WHERE c.id = $1 AND c.deleted_at IS NULL

-- name: rename_canvas
UPDATE canvas SET name = $2, updated_at = greatest(updated_at, clock_timestamp())
WHERE id = $1 AND deleted_at IS NULL
RETURNING id

-- name: delete_canvas
UPDATE canvas SET deleted_at = clock_timestamp()
WHERE id = $1 AND deleted_at IS NULL
RETURNING id

-- name: canvases_of_user
-- Read a page of $3 canvases of which $1 is a member, newest first, starting after the canvas (created_at $4, id $5).
-- With $2, only those with this text in their name, without regard to upper and lower case.
SELECT c.id, c.name, c.revision, c.created_at, c.updated_at, m.role
FROM canvas_member m JOIN canvas c ON c.id = m.canvas_id
WHERE m.user_id = $1 AND c.deleted_at IS NULL
    AND ($2::text IS NULL OR strpos(lower(normalize(c.name)), lower(normalize($2))) > 0)
    AND ($4::timestamptz IS NULL OR (c.created_at, c.id) < ($4, $5::text))
ORDER BY c.created_at DESC, c.id DESC
LIMIT $3

-- name: all_canvases
-- Read a page of all canvases, as canvases_of_user does.
SELECT c.id, c.name, c.revision, c.created_at, c.updated_at, m.role
FROM canvas c LEFT JOIN canvas_member m ON m.canvas_id = c.id AND m.user_id = $1
WHERE c.deleted_at IS NULL
    AND ($2::text IS NULL OR strpos(lower(normalize(c.name)), lower(normalize($2))) > 0)
    AND ($4::timestamptz IS NULL OR (c.created_at, c.id) < ($4, $5::text))
ORDER BY c.created_at DESC, c.id DESC
LIMIT $3

-- name: members_after
-- Read a page of $2 members of a canvas, by user id, starting after the user $3.
SELECT user_id, role FROM canvas_member
WHERE canvas_id = $1 AND ($3::text IS NULL OR user_id > $3)
ORDER BY user_id
LIMIT $2

-- name: memberships
-- Read a page of $2 canvases of which $1 is a member, newest first, starting after the canvas (created_at $3, id $4).
-- With $5, only those of which $1 is the only owner.
SELECT * FROM (
    SELECT c.id, c.name, c.revision, c.created_at, c.updated_at, m.role,
        m.role = 'owner' AND NOT EXISTS (
            SELECT FROM canvas_member o WHERE o.canvas_id = c.id AND o.role = 'owner' AND o.user_id <> $1
        ) AS only_owner
    FROM canvas_member m JOIN canvas c ON c.id = m.canvas_id
    WHERE m.user_id = $1 AND c.deleted_at IS NULL
        AND ($3::timestamptz IS NULL OR (c.created_at, c.id) < ($3, $4::text))
) memberships
WHERE only_owner OR NOT $5
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: largest_canvases
-- Read the $1 largest canvases, deleted ones too. Their size is the bytes of their content, or of their journal if $2.
-- There is no index on the bytes, because each append would have to change the index. The length of a snapshot is read
-- from its header, without the snapshot.
SELECT c.id, c.name, c.revision, c.created_at, c.updated_at, c.deleted_at, c.bytes AS journal_bytes,
    coalesce(octet_length(s.update), 0) + c.bytes - c.snapshot_bytes AS content_bytes
FROM canvas c LEFT JOIN LATERAL (
    SELECT update FROM snapshot WHERE canvas_id = c.id ORDER BY through_revision DESC LIMIT 1
) s ON true
ORDER BY CASE WHEN $2 THEN c.bytes ELSE coalesce(octet_length(s.update), 0) + c.bytes - c.snapshot_bytes END DESC, c.id
LIMIT $1

-- name: owners
-- Read at most $3 owners of a canvas, the user $2 first.
SELECT user_id FROM canvas_member
WHERE canvas_id = $1 AND role = 'owner'
ORDER BY user_id <> $2, user_id
LIMIT $3

-- name: lock_owners
-- Lock the owners of a canvas. A concurrent change of owners waits here, and then reads the remaining owners.
SELECT user_id FROM canvas_member
WHERE canvas_id = $1 AND role = 'owner'
ORDER BY user_id
FOR UPDATE

-- name: set_member
INSERT INTO canvas_member (canvas_id, user_id, role) VALUES ($1, $2, $3)
ON CONFLICT (canvas_id, user_id) DO UPDATE SET role = excluded.role

-- name: remove_member
DELETE FROM canvas_member WHERE canvas_id = $1 AND user_id = $2
RETURNING user_id

-- name: append_entries
-- Commit entries, and return one row for each entry, in the same order. Migration 0018 defines the function.
SELECT revision, repeated, tail_entries, tail_bytes FROM append_entries($1, $2, $3, $4, $5, $6, $7)

-- name: add_journal_days
-- Make the journal's missing partitions for $1 days, beginning with today.
SELECT add_journal_days((now() AT TIME ZONE 'UTC')::date, $1)

-- name: load_tail
-- Read the journal entries after revision $2, oldest first, if the canvas has no snapshot or if a stored snapshot has
-- revision $2 or an earlier one; otherwise return no row. One row with nulls means no entries. This is a single
-- statement because it must see one state of the tables. The bounds of `at` are sub-selects, because with joins
-- PostgreSQL could not skip the partitions of the other days.
WITH known AS MATERIALIZED (
    SELECT c.revision AS newest, c.updated_at,
        CASE WHEN c.snapshot_revision = 0 THEN c.created_at
        ELSE (
            SELECT max(s.through_at) FROM snapshot s
            WHERE s.canvas_id = c.id AND s.through_revision <= $2
        ) END AS since
    FROM canvas c
    WHERE c.id = $1 AND c.deleted_at IS NULL
)
SELECT known.newest, false AS is_snapshot, j.revision, j.update, j.checksum
FROM known LEFT JOIN journal j
    ON j.canvas_id = $1 AND j.revision > $2 AND j.revision >> 8 >= $2 >> 8
    AND j.at BETWEEN (SELECT k.since FROM known k) AND (SELECT k.updated_at FROM known k)
WHERE known.since IS NOT NULL
ORDER BY j.revision

-- name: load_content
-- Read the newest snapshot, and then the journal entries after it, oldest first. One row with nulls means that
-- there is neither a snapshot nor an entry. This is a single statement with sub-selects for the reasons given at
-- load_tail.
WITH known AS MATERIALIZED (
    SELECT c.revision AS newest, c.created_at, c.updated_at, c.deleted_at, c.purge_began_at
    FROM canvas c
    WHERE c.id = $1
), snapped AS MATERIALIZED (
    SELECT s.through_revision, s.through_at, s.update, s.checksum, s.outline
    FROM snapshot s
    WHERE s.canvas_id = $1
    ORDER BY s.through_revision DESC
    LIMIT 1
), part AS (
    SELECT true AS is_snapshot, s.through_revision AS revision, s.update, s.checksum, s.outline
    FROM snapped s
    UNION ALL
    SELECT false, j.revision, j.update, j.checksum, NULL FROM journal j
    WHERE j.canvas_id = $1
        AND j.revision > coalesce((SELECT s.through_revision FROM snapped s), 0)
        AND j.revision >> 8 >= coalesce((SELECT s.through_revision FROM snapped s), 0) >> 8
        AND j.at BETWEEN coalesce((SELECT s.through_at FROM snapped s), (SELECT k.created_at FROM known k))
            AND (SELECT k.updated_at FROM known k)
)
SELECT known.newest, known.deleted_at, known.purge_began_at, part.is_snapshot, part.revision, part.update,
    part.checksum, part.outline
FROM known LEFT JOIN part ON true
ORDER BY part.revision

-- name: configuration
SELECT version, value::text AS value FROM configuration WHERE name = $1

-- name: set_configuration
-- Set a value if its stored version is $4, and return its new version. No row means that the stored version is not $4.
-- $4 is null to replace any version, or 0 for a value that was never set.
INSERT INTO configuration (name, version, value, changed_by)
SELECT $1, 1, $2::text::jsonb, $3 WHERE coalesce($4::bigint, 0) = 0
    OR EXISTS (SELECT FROM configuration WHERE name = $1)
ON CONFLICT (name) DO UPDATE
    SET version = configuration.version + 1, value = excluded.value,
        changed_by = excluded.changed_by, changed_at = excluded.changed_at
    WHERE $4::bigint IS NULL OR configuration.version = $4::bigint
RETURNING version

-- name: clock
SELECT clock_timestamp() AS now
