-- The canvases that were removed for good within a day of their creation. They count towards the number of canvases
-- that an account creates in an hour and in a day. Rows with an older `created_at` do not count, and are deleted later.
CREATE TABLE purged_canvas (
    canvas_id text PRIMARY KEY,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX purged_canvas_creator ON purged_canvas (created_by, created_at);
