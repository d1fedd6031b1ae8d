-- The secret from before a rotation, which signs beside the new one until this time.
ALTER TABLE webhook ADD COLUMN old_secret text;
ALTER TABLE webhook ADD COLUMN old_secret_until timestamptz;
