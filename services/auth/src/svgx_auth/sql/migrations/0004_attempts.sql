-- Failed attempts to log in or to confirm a password. The table is unlogged, because a crash of the server loses only
-- the waits for the next attempts.
CREATE UNLOGGED TABLE attempt (
    -- Contains a network, an account's id, or a hash of the account's id or of an unknown name. The name is hashed,
    -- because users may enter a password by mistake.
    key text PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
);

CREATE INDEX attempt_oldest ON attempt (last_at);
