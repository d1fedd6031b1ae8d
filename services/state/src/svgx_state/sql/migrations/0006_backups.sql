-- The restore that created this canvas, or null. A canvas that a restore creates counts its revisions from 1 again. So
-- an incremental backup compares a canvas's revision with that in its parent only if both have the same `restored_by`.
ALTER TABLE canvas ADD COLUMN restored_by text;

-- Backups read canvases in the byte order of the ids, because the objects of a backup have this order.
CREATE INDEX canvas_by_bytes ON canvas (id COLLATE "C");

CREATE TABLE backup (
    id text PRIMARY KEY,
    state_type text NOT NULL,
    backup_type text NOT NULL CHECK (backup_type IN ('full', 'incremental')),
    canvas_id text,
    owner_id text,
    parent_id text,
    status text NOT NULL CHECK (status IN ('running', 'complete', 'failed', 'deleting')),
    -- Whether the record was made from a manifest at the target. An adopted backup was made by another database, or by
    -- this database before the database itself was restored. No incremental backup builds on an adopted backup, because
    -- the canvases may have counted their revisions anew since that backup.
    adopted boolean NOT NULL DEFAULT false,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    canvases_total bigint NOT NULL DEFAULT 0,
    canvases bigint NOT NULL DEFAULT 0,
    changed bigint NOT NULL DEFAULT 0,
    users_total bigint NOT NULL DEFAULT 0,
    users bigint NOT NULL DEFAULT 0,
    objects bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    encrypted boolean NOT NULL,
    format integer NOT NULL,
    version text NOT NULL,
    error text,
    -- The last verification, as callers see it.
    verification jsonb
);

CREATE INDEX backup_newest ON backup (created_at DESC, id DESC);
CREATE INDEX backup_parent ON backup (parent_id) WHERE parent_id IS NOT NULL;

-- The objects of a running backup. When the backup ends, its manifest lists them.
CREATE TABLE backup_object (
    backup_id text NOT NULL REFERENCES backup (id) ON DELETE CASCADE,
    number integer NOT NULL,
    entry jsonb NOT NULL,
    PRIMARY KEY (backup_id, number)
);

CREATE TABLE restore (
    id text PRIMARY KEY,
    backup_id text NOT NULL,
    canvas_id text,
    status text NOT NULL CHECK (status IN ('running', 'complete', 'partial', 'refused', 'failed')),
    -- Whether the backup was read back. Nothing is restored before that.
    verified boolean NOT NULL DEFAULT false,
    requested_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    canvases_total bigint NOT NULL DEFAULT 0,
    canvases bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    users_added bigint NOT NULL DEFAULT 0,
    users_kept bigint NOT NULL DEFAULT 0,
    users_refused bigint NOT NULL DEFAULT 0,
    error text
);

CREATE INDEX restore_newest ON restore (created_at DESC, id DESC);

CREATE TABLE restored_canvas (
    restore_id text NOT NULL REFERENCES restore (id) ON DELETE CASCADE,
    canvas_id text NOT NULL,
    outcome text NOT NULL,
    detail text,
    PRIMARY KEY (restore_id, canvas_id)
);

-- The work that is left to do. A row exists from the request until the work has ended. A replica does the work while it
-- renews `heartbeat_at`. Each transaction of the work first compares `runner`, so that a replica that lost the work
-- changes nothing any more.
CREATE TABLE backup_task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('backup', 'verify', 'delete', 'restore')),
    -- The id of the backup, or of the restore.
    subject_id text NOT NULL,
    runner text,
    heartbeat_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    -- The progress of a restore: `users:` or `canvases:`, and the id of the last finished account or canvas.
    position text NOT NULL DEFAULT '',
    UNIQUE (kind, subject_id)
);

-- At most one backup and one restore at a time.
CREATE UNIQUE INDEX backup_task_single ON backup_task (kind) WHERE kind IN ('backup', 'restore');
