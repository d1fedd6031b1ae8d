-- Drops the partition of `day`, and returns whether it did. All or nothing happens, because this is one transaction.
-- `kept_from` is the start of the oldest kept day.
--
-- It drops nothing, and fails, while a canvas with an entry of the day lacks a base: a kept snapshot that contains this
-- entry, of a moment before `kept_from`. Reads of kept moments begin with the base. A later snapshot does not serve
-- them, and compaction deletes snapshots that are not kept. The entries of canvases that do not exist any more need no
-- base. The lock on the partition keeps late entries out of it.
--
-- The drop needs a lock that waits for running statements on the journal, and appends wait behind this lock. So the
-- function waits for the lock for at most 50 ms. After that it fails, and the caller tries again.
CREATE FUNCTION drop_journal_day(day date, kept_from timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    partition text := 'journal_' || to_char(day, 'YYYYMMDD');
    uncovered text;
BEGIN
    IF to_regclass(partition) IS NULL THEN
        RETURN false;
    END IF;
    PERFORM set_config('lock_timeout', '50ms', true);
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE MODE', partition);
    EXECUTE format($query$
        SELECT j.canvas_id FROM (SELECT canvas_id, max(revision) AS last FROM %I GROUP BY canvas_id) j
        JOIN canvas c ON c.id = j.canvas_id
        WHERE NOT EXISTS (
            SELECT FROM snapshot s
            WHERE s.canvas_id = j.canvas_id AND s.kept AND s.through_revision >= j.last AND s.through_at < $1
        )
        LIMIT 1
    $query$, partition) INTO uncovered USING kept_from;
    IF uncovered IS NOT NULL THEN
        RAISE EXCEPTION 'the entries of canvas % in % are not in a kept snapshot', uncovered, partition
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
    RETURN true;
END
$$;

-- Replicas of the version before this migration call the function without `kept_from`. Their bases must be from `day`
-- or an earlier day, because such a base serves the moments of all later days.
CREATE OR REPLACE FUNCTION drop_journal_day(day date) RETURNS boolean
LANGUAGE sql AS $$
    SELECT drop_journal_day(day, (day + 1)::timestamp AT TIME ZONE 'UTC')
$$;
