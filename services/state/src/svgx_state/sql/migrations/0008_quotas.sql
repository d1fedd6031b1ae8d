-- The bytes that the edits of each account, and on each canvas, added to the journal on a day (UTC). They are counted
-- in memory and added every few seconds.
CREATE TABLE account_usage (
    day date NOT NULL,
    user_id text NOT NULL,
    journal_bytes bigint NOT NULL,
    PRIMARY KEY (day, user_id)
) WITH (fillfactor = 80);

CREATE TABLE canvas_usage (
    day date NOT NULL,
    canvas_id text NOT NULL,
    journal_bytes bigint NOT NULL,
    PRIMARY KEY (day, canvas_id)
) WITH (fillfactor = 80);

-- The content of each canvas after its newest counted edit: the newest snapshot and the journal after it.
CREATE TABLE canvas_size (
    canvas_id text PRIMARY KEY,
    content_bytes bigint NOT NULL
);

CREATE INDEX canvas_size_large ON canvas_size (content_bytes);

-- For the number of canvases that an account created.
CREATE INDEX canvas_creator ON canvas (created_by, created_at DESC);
