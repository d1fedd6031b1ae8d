-- The statements of retention. Except for drop_journal_day and drop_writers_before, $1 is the start of the oldest kept
-- day (UTC); earlier days are dropped. A base is a kept snapshot from before this time: reads of the kept days begin with
-- the newest base or a later snapshot.

-- name: claim_retention
-- Keep other replicas from dropping days until the transaction ends. Return false when another replica drops days.
SELECT pg_try_advisory_xact_lock(hashtext('svgx.state.retention')) AS claimed

-- name: days_before
-- List the days of the journal's partitions that end at $1 or earlier, oldest first.
SELECT to_date(substr(name, 9), 'YYYYMMDD') AS day FROM (
    SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'journal'::regclass
) partitions
WHERE name ~ '^journal_\d{8}$' AND to_date(substr(name, 9), 'YYYYMMDD') < ($1::timestamptz AT TIME ZONE 'UTC')::date
ORDER BY day

-- name: canvases_before
-- Read a page of $3 canvases by id, after canvas $2, with the last entry before $1. The entry is null when the canvas
-- has no entry before $1, and when a kept snapshot ends with this entry.
SELECT c.id, last.revision, last.at
FROM (SELECT id FROM canvas WHERE id > $2 AND created_at < $1 ORDER BY id LIMIT $3) c
LEFT JOIN LATERAL (
    SELECT j.revision, j.at FROM journal j
    WHERE j.canvas_id = c.id AND j.at < $1
    ORDER BY j.revision >> 8 DESC, j.revision DESC
    LIMIT 1
) last ON NOT EXISTS (
    SELECT FROM snapshot s WHERE s.canvas_id = c.id AND s.through_revision = last.revision AND s.kept
)
ORDER BY c.id

-- name: drop_journal_day
-- Drop the partition of the day $1, if each canvas with entries in it has a base. $2 is the start of the oldest kept day.
-- Migration 0017 defines the function.
SELECT drop_journal_day($1, $2) AS dropped

-- name: drop_snapshots_before
-- Delete the snapshots before the newest base of each canvas. A later snapshot that is not kept replaces no base, because
-- compaction deletes such a snapshot.
DELETE FROM snapshot s
WHERE s.through_at < $1 AND EXISTS (
    SELECT FROM snapshot newer
    WHERE newer.canvas_id = s.canvas_id AND newer.through_revision > s.through_revision AND newer.kept
        AND newer.through_at < $1
)

-- name: drop_writers_before
-- Delete the rows of writers that another writer replaced more than two days ago. $1 is the present time. The rows are
-- not needed, because append_entries recognises a repeated entry for one day only.
DELETE FROM journal_writer WHERE at < $1::timestamptz - interval '2 days'
