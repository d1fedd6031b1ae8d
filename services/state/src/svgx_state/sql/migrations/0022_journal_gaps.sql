-- The canvases with missing journal entries, one row each. Entries are missing between `after_revision` and
-- `through_revision`. A compaction can merge the entries around the missing ones, and then no later read finds the gap.
-- So a row stays until an operator deletes it, or until its canvas is removed for good.
CREATE TABLE journal_gap (
    canvas_id text PRIMARY KEY REFERENCES canvas (id) ON DELETE CASCADE,
    after_revision bigint NOT NULL,
    through_revision bigint NOT NULL,
    -- The times of the first and of the newest read that found entries missing.
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
