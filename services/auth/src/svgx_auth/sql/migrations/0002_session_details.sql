ALTER TABLE session
    ADD COLUMN last_used_at timestamptz,
    -- When the session's newest access token expires.
    ADD COLUMN access_until timestamptz,
    -- The client's network address and User-Agent at the last use, as reported by the gateway.
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN user_agent text NOT NULL DEFAULT '',
    ADD COLUMN end_reason text;

-- The expiry of the existing sessions' tokens is not stored. They expire within a day, the maximum of JWT_EXPIRES_IN.
UPDATE session SET last_used_at = created_at, access_until = clock_timestamp() + interval '1 day';

ALTER TABLE session
    ALTER COLUMN last_used_at SET NOT NULL,
    ALTER COLUMN last_used_at SET DEFAULT clock_timestamp(),
    ALTER COLUMN access_until SET NOT NULL;

CREATE INDEX session_over ON session (least(ended_at, expires_at));

ALTER TABLE refresh_token
    DROP CONSTRAINT refresh_token_session_id_fkey,
    ADD CONSTRAINT refresh_token_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES session (id) ON DELETE CASCADE;
