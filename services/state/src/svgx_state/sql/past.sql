-- The statements that read past content.

-- name: load_past
-- Read the newest snapshot of revision $2 or an earlier one, and then the journal entries after it through revision $2,
-- oldest first. One row with nulls means that there is neither. No row means that there is no such canvas. This is a
-- single statement with sub-selects for the reasons given at load_tail.
WITH known AS MATERIALIZED (
    SELECT c.created_at, c.updated_at, c.deleted_at FROM canvas c WHERE c.id = $1
), snapped AS MATERIALIZED (
    SELECT s.through_revision, s.through_at, s.update, s.checksum, s.outline
    FROM snapshot s
    WHERE s.canvas_id = $1 AND s.through_revision <= $2
    ORDER BY s.through_revision DESC
    LIMIT 1
), part AS (
    SELECT true AS is_snapshot, s.through_revision AS revision, s.update, s.checksum, s.outline
    FROM snapped s
    UNION ALL
    SELECT false, j.revision, j.update, j.checksum, NULL FROM journal j
    WHERE j.canvas_id = $1
        AND j.revision > coalesce((SELECT s.through_revision FROM snapped s), 0)
        AND j.revision >> 8 >= coalesce((SELECT s.through_revision >> 8 FROM snapped s), 0)
        AND j.revision <= $2 AND j.revision >> 8 <= $2 >> 8
        AND j.at BETWEEN coalesce((SELECT s.through_at FROM snapped s), (SELECT k.created_at FROM known k))
            AND (SELECT k.updated_at FROM known k)
)
SELECT known.deleted_at, part.is_snapshot, part.revision, part.update, part.checksum, part.outline
FROM known LEFT JOIN part ON true
ORDER BY part.revision

-- name: moment
-- Read the newest revision that was committed at $2 or before, and the time of its commit. $2 is null for the present.
-- Also read the earliest time at which the content is known. The revision is null when $2 is before this time.
--
-- The journal is complete if it begins with revision 1, or if the quarantine has all earlier entries. Then the content
-- is known since the creation of the canvas. A canvas that a restore made from a backup has an older creation time, so
-- its content is known since its first entry. If the journal is not complete, the content is known since the oldest
-- snapshot.
--
-- If the clock was set back, the last entry may have a time after the clock. The present is then a millisecond after
-- this entry, so that it includes the entry also when it is rounded down to milliseconds.
WITH known AS MATERIALIZED (
    SELECT c.revision, c.created_at, c.updated_at, c.restored_by,
        CASE WHEN c.updated_at > clock_timestamp() THEN c.updated_at + interval '1 millisecond'
        ELSE clock_timestamp() END AS present
    FROM canvas c WHERE c.id = $1 AND c.deleted_at IS NULL
), first AS MATERIALIZED (
    SELECT j.revision, j.at FROM journal j
    WHERE j.canvas_id = $1 AND j.at BETWEEN (SELECT k.created_at FROM known k) AND (SELECT k.updated_at FROM known k)
    ORDER BY j.revision >> 8, j.revision
    LIMIT 1
), begun AS MATERIALIZED (
    SELECT known.*, CASE
        WHEN NOT complete THEN
            coalesce((SELECT min(s.through_at) FROM snapshot s WHERE s.canvas_id = $1), created_at)
        WHEN restored_by IS NULL THEN created_at
        ELSE coalesce((SELECT f.at FROM first f), updated_at)
        END AS earliest
    FROM (
        SELECT known.*, known.revision = 0 OR coalesce((
            SELECT f.revision - 1 = (
                SELECT count(*) FROM quarantine q
                WHERE q.canvas_id = $1 AND q.kind = 'entry' AND q.revision < f.revision
            ) FROM first f
        ), false) AS complete
        FROM known
    ) known
), newest AS (
    SELECT j.revision, j.at FROM journal j
    WHERE j.canvas_id = $1 AND j.at >= (SELECT k.created_at FROM known k)
        AND j.at <= coalesce($2, (SELECT k.updated_at FROM known k))
    ORDER BY j.revision >> 8 DESC, j.revision DESC
    LIMIT 1
), snapped AS (
    SELECT s.through_revision AS revision, s.through_at AS at FROM snapshot s
    WHERE s.canvas_id = $1 AND s.through_at <= coalesce($2, (SELECT k.present FROM known k))
    ORDER BY s.through_revision DESC
    LIMIT 1
), found AS (
    SELECT revision, at FROM (
        SELECT * FROM newest UNION ALL SELECT * FROM snapped
        UNION ALL SELECT 0, b.created_at FROM begun b WHERE b.complete
    ) each
    WHERE $2 IS NULL OR $2 >= (SELECT b.earliest FROM begun b)
    ORDER BY revision DESC
    LIMIT 1
)
SELECT b.present, found.revision, found.at AS edited_at, b.earliest
FROM begun b LEFT JOIN found ON true
