-- The content of versions that the journal does not have any more, once for each revision. `version.content` is then
-- empty. A version that was kept before this table has its own copy there.
CREATE TABLE version_content (
    canvas_id text NOT NULL REFERENCES canvas (id) ON DELETE CASCADE,
    revision bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (canvas_id, revision)
);

-- The bytes are compact already.
ALTER TABLE version_content ALTER COLUMN content SET STORAGE EXTERNAL;

-- For the versions of one revision, of which the last one removes the content.
CREATE INDEX version_revision ON version (canvas_id, revision);
