CREATE TABLE api_key (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES account (id),
    name text NOT NULL,
    -- The beginning of the key's text, by which users tell their keys apart.
    prefix text NOT NULL,
    -- SHA-256 of the key. A key has 256 random bits, so its hash needs no salt and no slow function.
    hash bytea NOT NULL UNIQUE,
    -- The key has the lesser of this role and the account's role.
    role text NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz,
    ended_at timestamptz
);

CREATE INDEX api_key_account ON api_key (account_id, created_at, id);
CREATE INDEX api_key_revoked ON api_key (expires_at) WHERE ended_at IS NOT NULL;
