ALTER TABLE account
    -- Written into access tokens; those of a lower version count no more.
    ADD COLUMN token_version integer NOT NULL DEFAULT 0,
    ADD COLUMN tokens_ended_at timestamptz,
    -- When the last token of a lower version would have ended by itself.
    ADD COLUMN tokens_until timestamptz;

CREATE INDEX account_revoked ON account (tokens_until) WHERE tokens_until IS NOT NULL;
CREATE INDEX session_revoked ON session (access_until) WHERE ended_at IS NOT NULL;
