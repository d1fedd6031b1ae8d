-- The statements of the quarantine. The conditions on `revision >> 8` let PostgreSQL use the index of the journal.

-- name: quarantine_entry
-- Move the journal entry of canvas $1 and revision $2 to the quarantine, for the reason $3, if it still has the bytes $4.
-- $4 is null for an entry with bytes that PostgreSQL cannot read.
WITH moved AS (
    DELETE FROM journal
    WHERE canvas_id = $1 AND revision = $2 AND revision >> 8 = $2 >> 8 AND ($4::bytea IS NULL OR update = $4)
    RETURNING canvas_id, revision, writer, sequence, authors, checksum, at
)
INSERT INTO quarantine (canvas_id, kind, revision, reason, writer, sequence, authors, checksum, update, row_at)
SELECT canvas_id, 'entry', revision, $3, writer, sequence, authors, checksum, $4, at FROM moved
RETURNING id

-- name: quarantine_snapshot
-- Move the snapshot of canvas $1 through revision $2 to the quarantine, as quarantine_entry moves an entry.
WITH moved AS (
    DELETE FROM snapshot
    WHERE canvas_id = $1 AND through_revision = $2 AND ($4::bytea IS NULL OR update = $4)
    RETURNING canvas_id, through_revision, checksum, through_at
)
INSERT INTO quarantine (canvas_id, kind, revision, reason, checksum, update, row_at)
SELECT canvas_id, 'snapshot', through_revision, $3, checksum, $4, through_at FROM moved
RETURNING id

-- name: note_lost_snapshot
-- Record the newest remaining snapshot in the row of canvas $1, so that the next compaction begins there.
UPDATE canvas c SET
    snapshot_revision = coalesce(s.through_revision, 0), snapshot_bytes = coalesce(s.journal_bytes, 0)
FROM (SELECT $1::text AS canvas_id) lost LEFT JOIN LATERAL (
    SELECT through_revision, journal_bytes FROM snapshot
    WHERE canvas_id = lost.canvas_id ORDER BY through_revision DESC LIMIT 1
) s ON true
WHERE c.id = lost.canvas_id

-- name: stored_rows
-- List the snapshots and journal entries of a canvas without their bytes.
SELECT true AS is_snapshot, through_revision AS revision FROM snapshot WHERE canvas_id = $1
UNION ALL
SELECT false, revision FROM journal WHERE canvas_id = $1

-- name: read_entry
SELECT update FROM journal WHERE canvas_id = $1 AND revision = $2 AND revision >> 8 = $2 >> 8

-- name: read_snapshot
SELECT update FROM snapshot WHERE canvas_id = $1 AND through_revision = $2

-- name: read_outline
SELECT outline FROM snapshot WHERE canvas_id = $1 AND through_revision = $2

-- name: drop_outline
-- Delete the outline of the snapshot of canvas $1 through revision $2. Return no row without an outline.
UPDATE snapshot SET outline = NULL WHERE canvas_id = $1 AND through_revision = $2 AND outline IS NOT NULL
RETURNING through_revision

-- name: newest_quarantined
-- Read the time of the newest move, in Unix seconds, or 0 without one.
SELECT coalesce((SELECT extract(epoch FROM at) FROM quarantine ORDER BY id DESC LIMIT 1), 0)::float8 AS at
