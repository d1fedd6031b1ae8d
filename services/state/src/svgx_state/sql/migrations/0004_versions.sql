-- Kept states of canvases. The content of a version is read from the journal up to the version's revision, or from the
-- column `content`.
CREATE TABLE version (
    id text PRIMARY KEY,
    canvas_id text NOT NULL REFERENCES canvas (id) ON DELETE CASCADE,
    revision bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('automatic', 'named', 'before_restore', 'before_import')),
    -- A version without a name is deleted after some time.
    name text,
    -- The users with edits since the previous version.
    authors text[] NOT NULL,
    created_by text,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The time of the journal entry of `revision`.
    edited_at timestamptz NOT NULL,
    -- The content as `svgx_common.contract.state.Content` in lib0's encoding, once the journal does not have it any more.
    content bytea,
    -- A PNG, after the first request for it.
    thumbnail bytea
);

-- The bytes are compact already.
ALTER TABLE version ALTER COLUMN content SET STORAGE EXTERNAL;
ALTER TABLE version ALTER COLUMN thumbnail SET STORAGE EXTERNAL;

CREATE INDEX version_newest ON version (canvas_id, at DESC, id DESC);

-- When two replicas make an automatic version of the same revision at the same time, only one version is stored.
CREATE UNIQUE INDEX version_automatic ON version (canvas_id, revision) WHERE kind = 'automatic';

-- The versions that still need the journal.
CREATE INDEX version_in_journal ON version (at) WHERE content IS NULL;
