-- Failed attempts to log in. The table is unlogged, because a crash of the server loses only the waits for the next
-- attempts.
CREATE UNLOGGED TABLE attempt (
    -- A hash of the entered name (users may enter a password by mistake), an address, or an account's id.
    key text PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
);

CREATE INDEX attempt_oldest ON attempt (last_at);
