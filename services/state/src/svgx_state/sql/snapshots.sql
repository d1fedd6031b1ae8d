-- The statements of compaction.

-- name: claim_compaction
-- Keep other replicas from compacting the canvas until the transaction ends. Return false when another replica is
-- compacting the canvas.
SELECT pg_try_advisory_xact_lock(hashtext('svgx.state.compaction'), hashtext($1)) AS claimed

-- name: snapshot_through
-- Read the canvas, and its newest snapshot of revision $2 or an earlier one. Without a snapshot, update, checksum and
-- outline are null, and the other columns of the snapshot describe the beginning of the journal: revision 0, no bytes,
-- the canvas's creation.
SELECT c.revision AS newest, c.bytes AS newest_bytes, c.updated_at,
    s.through_revision IS NOT NULL AS is_snapshot, coalesce(s.through_revision, 0) AS revision,
    coalesce(s.through_at, c.created_at) AS at, coalesce(s.journal_bytes, 0) AS journal_bytes, s.update, s.checksum,
    s.outline
FROM canvas c LEFT JOIN LATERAL (
    SELECT * FROM snapshot WHERE canvas_id = c.id AND through_revision <= $2
    ORDER BY through_revision DESC LIMIT 1
) s ON true
WHERE c.id = $1

-- name: journal_slice
-- Read the next journal entries after revision $2, through revision $3, that were committed between $4 and $5: at
-- most $6 entries, and at most $7 bytes unless the first entry is larger. The length of an update is read from its
-- header, without the update.
SELECT false AS is_snapshot, revision, at, update, checksum FROM (
    SELECT j.revision, j.at, j.update, j.checksum,
        sum(octet_length(j.update)) OVER (ORDER BY j.revision >> 8, j.revision) AS bytes,
        row_number() OVER (ORDER BY j.revision >> 8, j.revision) AS number
    FROM (
        SELECT * FROM journal
        WHERE canvas_id = $1 AND revision > $2 AND revision >> 8 >= $2 >> 8 AND revision <= $3
            AND at BETWEEN $4 AND $5
        ORDER BY revision >> 8, revision
        LIMIT $6
    ) j
) slice
WHERE bytes <= $7 OR number = 1
ORDER BY revision

-- name: add_snapshot
-- Store a snapshot: canvas $1, through revision $2, at $3, update $4, checksum $5, bytes of the journal $6, outline $9.
-- Store nothing for a canvas that was removed meanwhile. The canvas is locked first, as its removal does.
--
-- The snapshot is kept for reads of past revisions if $7 is true, or if the journal since the previous kept snapshot is
-- large enough: at least as large as the new snapshot, and at least $8 bytes. An entry counts as its update and 256
-- bytes, for its row and the work to integrate it. The snapshots that are kept because of the journal's size are
-- together not larger than the journal. A read of a past revision takes at most about twice as long as the slower of
-- two reads: of a snapshot, and of $8 bytes of journal.
INSERT INTO snapshot (canvas_id, through_revision, through_at, update, checksum, journal_bytes, outline, kept)
SELECT $1, $2, $3, $4, $5, $6::bigint, $9, $7::boolean OR $6::bigint + 256 * $2::bigint - coalesce((
        SELECT coalesce(k.journal_bytes, 0) + 256 * k.through_revision FROM snapshot k
        WHERE k.canvas_id = $1 AND k.kept AND k.through_revision < $2
        ORDER BY k.through_revision DESC LIMIT 1
    ), 0) >= greatest($8, octet_length($4::bytea))
FROM canvas WHERE id = $1
FOR KEY SHARE
ON CONFLICT (canvas_id, through_revision) DO UPDATE SET kept = snapshot.kept OR excluded.kept

-- name: keep_snapshot
-- Keep the snapshot of revision $2, and return the revision. Return no row without such a snapshot.
UPDATE snapshot SET kept = true WHERE canvas_id = $1 AND through_revision = $2
RETURNING through_revision

-- name: drop_old_snapshots
-- Delete all but the kept snapshots, the newest two, and the snapshot $2. The second newest lets load_tail serve
-- holders that are a little behind.
DELETE FROM snapshot
WHERE canvas_id = $1 AND NOT kept AND through_revision <> $2 AND through_revision < (
    SELECT min(newest.through_revision) FROM (
        SELECT s.through_revision FROM snapshot s WHERE s.canvas_id = $1
        ORDER BY s.through_revision DESC LIMIT 2
    ) newest
)

-- name: drop_old_outlines
-- Delete the outlines of all snapshots but the newest two, because older snapshots serve only reads of past revisions.
-- Without outlines, the kept snapshots take no more space than add_snapshot allows.
UPDATE snapshot SET outline = NULL
WHERE canvas_id = $1 AND outline IS NOT NULL AND through_revision < (
    SELECT min(newest.through_revision) FROM (
        SELECT s.through_revision FROM snapshot s WHERE s.canvas_id = $1
        ORDER BY s.through_revision DESC LIMIT 2
    ) newest
)

-- name: tail_after_snapshot
-- Return the number of journal entries after the newest snapshot of a canvas, and their bytes.
SELECT revision - snapshot_revision AS entries, bytes - snapshot_bytes AS bytes FROM canvas WHERE id = $1

-- name: note_snapshot
-- Record the newest snapshot in the canvas's row. This must be the last statement of its transaction, because it locks
-- the row: appends to the canvas then wait for the commit.
UPDATE canvas SET snapshot_revision = $2, snapshot_bytes = $3
WHERE id = $1 AND snapshot_revision < $2
