-- Failed attempts to sign in. Unlogged: what a crash of the server takes is a delay, and not an account.
CREATE UNLOGGED TABLE attempt (
    -- What was tried: a hash of the name that was typed (it may be a password), an address, or an account's id.
    key text PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
);

CREATE INDEX attempt_oldest ON attempt (last_at);
