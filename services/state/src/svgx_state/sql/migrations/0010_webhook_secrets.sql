-- The secret from before a rotation. Until `old_secret_until`, it signs deliveries together with the new secret.
ALTER TABLE webhook ADD COLUMN old_secret text;
ALTER TABLE webhook ADD COLUMN old_secret_until timestamptz;
