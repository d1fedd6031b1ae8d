ALTER TABLE session
    ADD COLUMN last_used_at timestamptz,
    -- When the newest access token of the session counts no more.
    ADD COLUMN access_until timestamptz,
    -- Of the last use, as the gateway saw them.
    ADD COLUMN address text NOT NULL DEFAULT '',
    ADD COLUMN user_agent text NOT NULL DEFAULT '',
    ADD COLUMN end_reason text;

-- Nothing says what the tokens of the sessions there are live: a day is the most that JWT_EXPIRES_IN may be.
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
