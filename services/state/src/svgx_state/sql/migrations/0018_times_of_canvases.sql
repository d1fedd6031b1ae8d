-- Commits entries as the function of migration 0012 does. Each canvas has its own times now: a canvas with a time after
-- the clock, because the clock was set back, no longer changes the times of the other canvases of a call.
CREATE OR REPLACE FUNCTION append_entries(
    canvas_ids text[],
    writers text[],
    sequences bigint[],
    author_pool text[],
    author_ends integer[],
    updates bytea[],
    checksums integer[]
) RETURNS TABLE (
    -- 0 where there is no such canvas.
    revision bigint,
    -- Whether the entry was committed by an earlier call.
    repeated boolean,
    -- The entries and bytes that a load reads in addition to the newest snapshot.
    tail_entries bigint,
    tail_bytes bigint
)
LANGUAGE plpgsql
-- Planning against dozens of partitions costs more than running the plan.
SET plan_cache_mode = force_generic_plan
-- A plan from the time when there were few canvases would read all canvases for each call.
SET enable_seqscan = off
AS $$
DECLARE
    moment timestamptz;
    entry_time timestamptz;
    day date;
    later_days date[];
    following bigint;
    canvases bigint;
    author_start integer := 1;
    known record;
    highest bigint;
BEGIN
    -- Lock the canvases in the order of their ids. The locked rows include the changes that were committed while the
    -- call waited for a lock. `later_days` has the days of the canvases with times after the clock.
    WITH locked AS MATERIALIZED (
        SELECT c.id, c.updated_at, c.writer = e.writer AND c.sequence < e.sequence AS follows
        FROM unnest(canvas_ids, writers, sequences) AS e (canvas_id, writer, sequence)
        JOIN canvas c ON c.id = e.canvas_id
        ORDER BY c.id
        FOR NO KEY UPDATE OF c
    )
    SELECT clock_timestamp(), count(*) FILTER (WHERE l.follows), count(DISTINCT l.id),
        array_agg(DISTINCT (l.updated_at AT TIME ZONE 'UTC')::date) FILTER (WHERE l.updated_at > clock_timestamp())
    INTO moment, following, canvases, later_days
    FROM locked l;
    FOREACH day IN ARRAY array_append(later_days, (moment AT TIME ZONE 'UTC')::date) LOOP
        IF to_regclass('journal_' || to_char(day, 'YYYYMMDD')) IS NULL THEN
            PERFORM add_journal_days(day, 1);
        END IF;
    END LOOP;
    IF following = cardinality(canvas_ids) AND canvases = following THEN
        -- The updates stay in their array, because a common table expression would copy them, on disk if they are large.
        RETURN QUERY
        WITH changed AS (
            UPDATE canvas c
            SET revision = c.revision + 1, bytes = c.bytes + octet_length(updates[e.number::integer]),
                updated_at = greatest(moment, c.updated_at), sequence = e.sequence
            FROM unnest(canvas_ids, sequences) WITH ORDINALITY AS e (canvas_id, sequence, number)
            WHERE c.id = e.canvas_id
            RETURNING e.number::integer AS number, c.revision, c.revision - c.snapshot_revision AS entries,
                c.bytes - c.snapshot_bytes AS bytes, c.updated_at
        ), added AS (
            INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at, checksum)
            SELECT canvas_ids[n.number], n.revision, writers[n.number], sequences[n.number],
                author_pool[coalesce(author_ends[n.number - 1], 0) + 1 : author_ends[n.number]], updates[n.number],
                n.updated_at, checksums[n.number]
            FROM changed n
        )
        SELECT n.revision, false, n.entries, n.bytes FROM changed n ORDER BY n.number;
        RETURN;
    END IF;
    FOR i IN 1 .. cardinality(canvas_ids) LOOP
        SELECT c.writer, c.sequence, c.updated_at INTO known FROM canvas c WHERE c.id = canvas_ids[i];
        IF NOT FOUND THEN
            SELECT 0, false, 0, 0 INTO revision, repeated, tail_entries, tail_bytes;
        ELSE
            entry_time := greatest(moment, known.updated_at);
            IF known.writer = writers[i] THEN
                highest := known.sequence;
            ELSE
                SELECT w.sequence INTO highest FROM journal_writer w
                WHERE w.canvas_id = canvas_ids[i] AND w.writer = writers[i];
            END IF;
            repeated := false;
            IF sequences[i] <= highest THEN
                -- Resending ends long before a day has passed; the bounds keep other partitions from being searched.
                SELECT j.revision, true, c.revision - c.snapshot_revision, c.bytes - c.snapshot_bytes
                INTO revision, repeated, tail_entries, tail_bytes
                FROM journal j JOIN canvas c ON c.id = j.canvas_id
                WHERE j.canvas_id = canvas_ids[i] AND j.writer = writers[i] AND j.sequence = sequences[i]
                    AND j.at BETWEEN entry_time - interval '1 day' AND entry_time
                ORDER BY j.revision >> 8 DESC, j.revision DESC
                LIMIT 1;
                repeated := FOUND;
            END IF;
            IF NOT repeated THEN
                IF known.writer <> writers[i] THEN
                    INSERT INTO journal_writer AS w (canvas_id, writer, sequence, at)
                    VALUES (canvas_ids[i], known.writer, known.sequence, entry_time)
                    ON CONFLICT ON CONSTRAINT journal_writer_pkey
                        DO UPDATE SET sequence = excluded.sequence, at = excluded.at;
                END IF;
                UPDATE canvas c
                SET revision = c.revision + 1, bytes = c.bytes + octet_length(updates[i]), updated_at = entry_time,
                    writer = writers[i], sequence = greatest(highest, sequences[i])
                WHERE c.id = canvas_ids[i]
                RETURNING c.revision, c.revision - c.snapshot_revision, c.bytes - c.snapshot_bytes
                INTO revision, tail_entries, tail_bytes;
                INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at, checksum)
                VALUES (
                    canvas_ids[i], append_entries.revision, writers[i], sequences[i],
                    author_pool[author_start : author_ends[i]], updates[i], entry_time, checksums[i]);
            END IF;
        END IF;
        author_start := author_ends[i] + 1;
        RETURN NEXT;
    END LOOP;
END
$$;
