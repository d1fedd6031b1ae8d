-- The newest revision of a version that was deleted. Edits up to this revision cause no automatic version, because a
-- deleted version would otherwise return.
ALTER TABLE canvas ADD COLUMN deleted_version_revision bigint NOT NULL DEFAULT 0;
