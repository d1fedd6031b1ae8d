-- Share links: roles on a canvas for everybody with the link. A revoked link has no row.
CREATE TABLE share_link (
    id text PRIMARY KEY,
    canvas_id text NOT NULL REFERENCES canvas (id) ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('editor', 'viewer')),
    label text,
    -- The beginning of the token, by which owners tell links apart.
    prefix text NOT NULL,
    -- SHA-256 of the token. A token has 256 random bits, so its hash needs no salt and no slow function.
    hash bytea NOT NULL UNIQUE,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz
);

CREATE INDEX share_link_canvas ON share_link (canvas_id, created_at, id);
CREATE INDEX share_link_creator ON share_link (created_by);
CREATE INDEX share_link_over ON share_link (expires_at) WHERE expires_at IS NOT NULL;

-- The time at which the removal of a deleted canvas began. From this time on, the canvas cannot be restored.
ALTER TABLE canvas ADD COLUMN purge_began_at timestamptz;

CREATE INDEX canvas_deleted ON canvas (deleted_at, id) WHERE deleted_at IS NOT NULL;

-- The erasures of users that have begun. After its last pass, an erasure has no user id any more.
CREATE TABLE erasure (
    pseudonym text PRIMARY KEY,
    user_id text UNIQUE,
    -- The last journal entry of which the authors have been replaced, in the order of canvas id and revision.
    canvas_id text NOT NULL DEFAULT '',
    revision bigint NOT NULL DEFAULT 0,
    -- The number of changed rows of each table.
    touched jsonb NOT NULL DEFAULT '{}',
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
