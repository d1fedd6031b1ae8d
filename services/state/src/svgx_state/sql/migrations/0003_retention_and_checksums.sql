-- CRC-32 (zlib) of `update` as a signed number. It is null in rows that are older than this column.
ALTER TABLE journal ADD COLUMN checksum integer;

ALTER TABLE snapshot
    ADD COLUMN checksum integer,
    -- Bytes of all journal entries through this revision; null in rows that are older than this column.
    ADD COLUMN journal_bytes bigint,
    -- Kept for reads of past revisions. Other snapshots are deleted when they are not among the canvas's newest two.
    ADD COLUMN kept boolean NOT NULL DEFAULT false;

-- The bytes are compact already, as those of the journal.
ALTER TABLE snapshot ALTER COLUMN update SET STORAGE EXTERNAL;

UPDATE snapshot s SET
    journal_bytes = c.snapshot_bytes,
    kept = s.through_revision < c.snapshot_revision
FROM canvas c WHERE c.id = s.canvas_id;

-- The writer of the newest entry, and the highest sequence of this writer. With them, repeated entries are recognised
-- without an index on the writer and the sequence of each entry.
ALTER TABLE canvas ADD COLUMN writer text, ADD COLUMN sequence bigint;

-- The earlier writers of each canvas: one row for each change of the holder.
CREATE TABLE journal_writer (
    canvas_id text NOT NULL,
    writer text NOT NULL,
    -- The highest sequence of the writer's entries.
    sequence bigint NOT NULL,
    -- The time of the writer's newest entry, or a later time. append_entries recognises the entries of a writer for a
    -- day.
    at timestamptz NOT NULL,
    PRIMARY KEY (canvas_id, writer)
);

INSERT INTO journal_writer (canvas_id, writer, sequence, at)
SELECT canvas_id, writer, max(sequence), max(at) FROM journal
WHERE at > clock_timestamp() - interval '2 days'
GROUP BY canvas_id, writer;

DROP INDEX journal_entry;
ALTER TABLE journal DROP CONSTRAINT journal_pkey;

-- 256 entries of a canvas share a key. PostgreSQL stores this key once, and about 7 bytes for each row. If each row had
-- its own key, it would take 100 bytes. A statement that needs the entries after a revision compares both
-- `revision >> 8`, for the index, and `revision`.
CREATE INDEX journal_revision ON journal (canvas_id, (revision >> 8));

-- Entries and snapshots that could not be read. They are moved here, so that their canvas loads without them.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    canvas_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('entry', 'snapshot')),
    revision bigint NOT NULL,
    reason text NOT NULL,
    -- The columns of the moved row. Columns that its table lacks are null.
    writer text,
    sequence bigint,
    authors text[],
    checksum integer,
    -- Null when PostgreSQL could not read the bytes.
    update bytea,
    row_at timestamptz NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX quarantine_canvas ON quarantine (canvas_id, kind, revision);

-- Creates the missing partitions. This function replaces the function of migration 0001.
--
-- The function looks for a partition with a query. After the wait for the lock, to_regclass may answer from the
-- connection's cache of names, and would miss a partition that another connection made during the wait.
CREATE OR REPLACE FUNCTION add_journal_days(first date, days integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    day date;
    partition text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('svgx.state.journal_days'));
    FOR day IN SELECT first + number FROM generate_series(0, days - 1) AS number LOOP
        partition := 'journal_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_class c WHERE c.relname = partition AND c.relnamespace = current_schema()::regnamespace
        );
        EXECUTE format('CREATE TABLE %I (LIKE journal INCLUDING ALL)', partition);
        EXECUTE format(
            'ALTER TABLE journal ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition,
            to_char(day, 'YYYY-MM-DD 00:00:00+00'),
            to_char(day + 1, 'YYYY-MM-DD 00:00:00+00'));
    END LOOP;
END
$$;

-- Commits entries, as the function of migration 0001 does, and stores the `checksums` of their updates. An element of
-- `checksums` may be null.
--
-- An entry is new if its sequence is above the highest sequence of its writer. Otherwise the journal is searched.
CREATE FUNCTION append_entries(
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
AS $$
DECLARE
    moment timestamptz;
    author_start integer := 1;
    known record;
    highest bigint;
BEGIN
    PERFORM 1 FROM canvas c WHERE c.id = ANY (canvas_ids) ORDER BY c.id FOR NO KEY UPDATE;
    -- `moment` is not before an earlier commit, even when the clock was set back.
    SELECT greatest(clock_timestamp(), max(c.updated_at)) INTO moment FROM canvas c WHERE c.id = ANY (canvas_ids);
    IF to_regclass('journal_' || to_char(moment AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NULL THEN
        PERFORM add_journal_days((moment AT TIME ZONE 'UTC')::date, 1);
    END IF;
    FOR i IN 1 .. cardinality(canvas_ids) LOOP
        SELECT c.writer, c.sequence INTO known FROM canvas c WHERE c.id = canvas_ids[i];
        IF NOT FOUND THEN
            SELECT 0, false, 0, 0 INTO revision, repeated, tail_entries, tail_bytes;
        ELSE
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
                    AND j.at BETWEEN moment - interval '1 day' AND moment
                ORDER BY j.revision >> 8 DESC, j.revision DESC
                LIMIT 1;
                repeated := FOUND;
            END IF;
            IF NOT repeated THEN
                IF known.writer <> writers[i] THEN
                    INSERT INTO journal_writer AS w (canvas_id, writer, sequence, at)
                    VALUES (canvas_ids[i], known.writer, known.sequence, moment)
                    ON CONFLICT ON CONSTRAINT journal_writer_pkey
                        DO UPDATE SET sequence = excluded.sequence, at = excluded.at;
                END IF;
                UPDATE canvas c
                SET revision = c.revision + 1, bytes = c.bytes + octet_length(updates[i]), updated_at = moment,
                    writer = writers[i], sequence = greatest(highest, sequences[i])
                WHERE c.id = canvas_ids[i]
                RETURNING c.revision, c.revision - c.snapshot_revision, c.bytes - c.snapshot_bytes
                INTO revision, tail_entries, tail_bytes;
                INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at, checksum)
                VALUES (
                    canvas_ids[i], append_entries.revision, writers[i], sequences[i],
                    author_pool[author_start : author_ends[i]], updates[i], moment, checksums[i]);
            END IF;
        END IF;
        author_start := author_ends[i] + 1;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Replicas of the version before this migration call the function without checksums.
CREATE OR REPLACE FUNCTION append_entries(
    canvas_ids text[],
    writers text[],
    sequences bigint[],
    author_pool text[],
    author_ends integer[],
    updates bytea[]
) RETURNS TABLE (revision bigint, repeated boolean, tail_entries bigint, tail_bytes bigint)
LANGUAGE sql AS $$
    SELECT * FROM append_entries(
        canvas_ids, writers, sequences, author_pool, author_ends, updates, '{}'::integer[])
$$;

-- Drops the partition of `day`, and returns whether it did. All or nothing happens, because this is one transaction.
--
-- It drops nothing, and fails, while a canvas has an entry of the day that no snapshot covers. The entries of canvases
-- that do not exist any more need no snapshot. The lock on the partition keeps late entries out of it.
--
-- The drop needs a lock that waits for running statements on the journal, and appends wait behind this lock. So the
-- function waits for the lock for at most 50 ms. After that it fails, and the caller tries again.
CREATE FUNCTION drop_journal_day(day date) RETURNS boolean
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
        WHERE NOT EXISTS (SELECT FROM snapshot s WHERE s.canvas_id = j.canvas_id AND s.through_revision >= j.last)
        LIMIT 1
    $query$, partition) INTO uncovered;
    IF uncovered IS NOT NULL THEN
        RAISE EXCEPTION 'the entries of canvas % in % are not in a snapshot', uncovered, partition
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
    RETURN true;
END
$$;
