-- The number of failed attempts to log in or to confirm a password, one row for each key. The table is unlogged, because
-- a crash of the server loses only the waits for the next attempts.
CREATE UNLOGGED TABLE attempt (
    -- Contains a network, an account's id, a hash of an account's id, or a hash of a name that no account has. Such a
    -- name is hashed, because users may enter a password in place of their name.
    key text PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
);

CREATE INDEX attempt_oldest ON attempt (last_at);
