-- The canvases that were removed for good on the day of their creation. They count towards the number of canvases that
-- an account creates in an hour and in a day. Rows older than a day are deleted.
CREATE TABLE purged_canvas (
    canvas_id text PRIMARY KEY,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX purged_canvas_creator ON purged_canvas (created_by, created_at);
