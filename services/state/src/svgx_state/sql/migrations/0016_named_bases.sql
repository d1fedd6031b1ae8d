-- Whether the request for this backup named its parent (`base`). Without a named base, the replica that does the work
-- makes a full backup if it cannot read the parent.
ALTER TABLE backup ADD COLUMN base_named boolean NOT NULL DEFAULT false;
