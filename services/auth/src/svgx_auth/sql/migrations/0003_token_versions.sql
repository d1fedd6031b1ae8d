ALTER TABLE account
    -- Each access token contains the version at its creation. Tokens of a lower version are revoked.
    ADD COLUMN token_version integer NOT NULL DEFAULT 0,
    -- When the version was last raised.
    ADD COLUMN tokens_ended_at timestamptz,
    -- When the last token of a lower version expires.
    ADD COLUMN tokens_until timestamptz;

CREATE INDEX account_revoked ON account (tokens_until) WHERE tokens_until IS NOT NULL;
CREATE INDEX session_revoked ON session (access_until) WHERE ended_at IS NOT NULL;
