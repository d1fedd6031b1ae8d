-- The content of versions that the journal does not have any more, once for each revision. For these versions,
-- `version.content` is '', not null. A version with content from before this migration has its own copy in
-- `version.content`.
CREATE TABLE version_content (
    canvas_id text NOT NULL REFERENCES canvas (id) ON DELETE CASCADE,
    revision bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (canvas_id, revision)
);

-- The bytes are compact already.
ALTER TABLE version_content ALTER COLUMN content SET STORAGE EXTERNAL;

-- The index finds the versions of one revision. The deletion of the last of them deletes the content.
CREATE INDEX version_revision ON version (canvas_id, revision);
