-- The statements about missing journal entries.

-- name: quarantined_between
-- Count the quarantined entries of a canvas after revision $2, through revision $3.
SELECT count(*) AS number FROM quarantine
WHERE canvas_id = $1 AND kind = 'entry' AND revision > $2 AND revision <= $3

-- name: record_gap
-- Record that journal entries of canvas $1 are missing after revision $2, through revision $3. A second gap of the canvas
-- extends the row. Return no row, and record nothing, for a canvas of which the removal has begun: its entries are
-- missing because the removal deletes them. The canvas is locked first, as the removal of the canvas does.
INSERT INTO journal_gap AS known (canvas_id, after_revision, through_revision)
SELECT id, $2, $3 FROM canvas WHERE id = $1 AND purge_began_at IS NULL
FOR KEY SHARE
ON CONFLICT (canvas_id) DO UPDATE SET
    after_revision = least(known.after_revision, excluded.after_revision),
    through_revision = greatest(known.through_revision, excluded.through_revision),
    last_at = excluded.last_at
RETURNING canvas_id

-- name: recorded_gaps
-- Count the canvases with missing entries, and read the newest time at which entries were found missing, in Unix
-- seconds, or 0 without a row.
SELECT count(*) AS canvases, coalesce(extract(epoch FROM max(last_at)), 0)::float8 AS at FROM journal_gap
