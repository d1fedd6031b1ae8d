CREATE TABLE canvas (
    id text PRIMARY KEY,
    name text NOT NULL,
    created_by text NOT NULL,
    -- Number of journal entries ever committed; the newest entry has this revision.
    revision bigint NOT NULL DEFAULT 0,
    -- Bytes of all journal entries ever committed.
    bytes bigint NOT NULL DEFAULT 0,
    -- The values of `revision` and `bytes` at the newest snapshot.
    snapshot_revision bigint NOT NULL DEFAULT 0,
    snapshot_bytes bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz
) WITH (fillfactor = 80);  -- with free space on its page, an updated row needs no new index entries

CREATE INDEX canvas_newest ON canvas (created_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE canvas_member (
    canvas_id text NOT NULL REFERENCES canvas (id),
    user_id text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    PRIMARY KEY (canvas_id, user_id)
);

CREATE INDEX canvas_member_user ON canvas_member (user_id);

-- One partition a day (UTC). `at` never decreases as the revision of a canvas increases, and lies between the canvas's
-- created_at and updated_at. Loading relies on both facts. Only append_entries adds rows, so a canvas_id needs no
-- foreign key, and (canvas_id, revision) is unique although `at` is part of the key.
CREATE TABLE journal (
    canvas_id text NOT NULL,
    revision bigint NOT NULL,
    writer text NOT NULL,
    sequence bigint NOT NULL,
    authors text[] NOT NULL,
    update bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (canvas_id, revision, at)
) PARTITION BY RANGE (at);

-- Do not compress: Yjs updates are compact already, and compressing would lengthen the time for which locks are held.
ALTER TABLE journal ALTER COLUMN update SET STORAGE EXTERNAL;

CREATE INDEX journal_entry ON journal (canvas_id, writer, sequence);

CREATE TABLE snapshot (
    canvas_id text NOT NULL REFERENCES canvas (id),
    -- The update holds everything up to and including this revision.
    through_revision bigint NOT NULL,
    -- `at` of that revision's journal entry: later revisions are in this day's partition or a later one.
    through_at timestamptz NOT NULL,
    update bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (canvas_id, through_revision)
);

-- Creates the missing partitions of `days` days, beginning with `first`.
--
-- Each partition is created as a separate table and then attached, because ATTACH PARTITION and running appends do not
-- wait for each other. CREATE TABLE ... PARTITION OF would wait for them. The journal has no default partition, because
-- ATTACH PARTITION would scan it, and this scan would wait for appends too.
CREATE FUNCTION add_journal_days(first date, days integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    day date;
    partition text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('svgx.state.journal_days'));
    FOR day IN SELECT first + number FROM generate_series(0, days - 1) AS number LOOP
        partition := 'journal_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE journal INCLUDING ALL)', partition);
        EXECUTE format(
            'ALTER TABLE journal ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition,
            to_char(day, 'YYYY-MM-DD 00:00:00+00'),
            to_char(day + 1, 'YYYY-MM-DD 00:00:00+00'));
    END LOOP;
END
$$;

-- Commits entries of many canvases; the arguments are parallel arrays with one element for each entry, except for
-- author_pool, which has the authors of all entries. The authors of entry i are
-- author_pool[author_ends[i - 1] + 1 : author_ends[i]].
--
-- The canvas rows are locked first, in the order of their ids (no deadlock between two calls), and stay locked until
-- the commit. So the revisions of a canvas become visible in order: a reader that sees revision R sees every revision
-- before R. The statements after the lock see everything that was committed while the call waited for the lock.
--
-- The lock is NO KEY UPDATE, so that inserting a snapshot or member does not wait: its foreign key needs a KEY SHARE
-- lock on the canvas row.
CREATE FUNCTION append_entries(
    canvas_ids text[],
    writers text[],
    sequences bigint[],
    author_pool text[],
    author_ends integer[],
    updates bytea[]
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
BEGIN
    PERFORM 1 FROM canvas c WHERE c.id = ANY (canvas_ids) ORDER BY c.id FOR NO KEY UPDATE;
    -- `moment` is not before an earlier commit, even when the clock was set back.
    SELECT greatest(clock_timestamp(), max(c.updated_at)) INTO moment FROM canvas c WHERE c.id = ANY (canvas_ids);
    IF to_regclass('journal_' || to_char(moment AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NULL THEN
        PERFORM add_journal_days((moment AT TIME ZONE 'UTC')::date, 1);
    END IF;
    FOR i IN 1 .. cardinality(canvas_ids) LOOP
        -- Resending ends long before a day has passed; the bounds keep other partitions from being searched.
        SELECT j.revision, true, c.revision - c.snapshot_revision, c.bytes - c.snapshot_bytes
        INTO revision, repeated, tail_entries, tail_bytes
        FROM journal j JOIN canvas c ON c.id = j.canvas_id
        WHERE j.canvas_id = canvas_ids[i] AND j.writer = writers[i] AND j.sequence = sequences[i]
            AND j.at BETWEEN moment - interval '1 day' AND moment
        LIMIT 1;
        IF NOT FOUND THEN
            UPDATE canvas c
            SET revision = c.revision + 1, bytes = c.bytes + octet_length(updates[i]), updated_at = moment
            WHERE c.id = canvas_ids[i]
            RETURNING c.revision, false, c.revision - c.snapshot_revision, c.bytes - c.snapshot_bytes
            INTO revision, repeated, tail_entries, tail_bytes;
            IF FOUND THEN
                INSERT INTO journal (canvas_id, revision, writer, sequence, authors, update, at)
                VALUES (
                    canvas_ids[i], append_entries.revision, writers[i], sequences[i],
                    author_pool[author_start : author_ends[i]], updates[i], moment);
            ELSE
                SELECT 0, false, 0, 0 INTO revision, repeated, tail_entries, tail_bytes;
            END IF;
        END IF;
        author_start := author_ends[i] + 1;
        RETURN NEXT;
    END LOOP;
END
$$;
