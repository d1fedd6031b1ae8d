CREATE TABLE api_key (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES account (id),
    name text NOT NULL,
    -- Of the key's text, for people to tell keys apart.
    prefix text NOT NULL,
    -- SHA-256 of the key, which has 256 bits of chance: no salt, no slowness.
    hash bytea NOT NULL UNIQUE,
    -- At most this, and at most the account's.
    role text NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz,
    ended_at timestamptz
);

CREATE INDEX api_key_account ON api_key (account_id, created_at, id);
CREATE INDEX api_key_revoked ON api_key (expires_at) WHERE ended_at IS NOT NULL;
