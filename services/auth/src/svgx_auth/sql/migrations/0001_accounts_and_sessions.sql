CREATE TABLE account (
    id text PRIMARY KEY,
    username text NOT NULL,
    email text NOT NULL,
    -- Argon2id in PHC string format: parameters and salt are part of it.
    password_hash text NOT NULL,
    role text NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at timestamptz,
    deleted_at timestamptz
);

CREATE UNIQUE INDEX account_username ON account (lower(username));
CREATE UNIQUE INDEX account_email ON account (lower(email));
CREATE INDEX account_oldest ON account (created_at, id) WHERE deleted_at IS NULL;

CREATE TABLE session (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES account (id),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A refresh does not change `expires_at`.
    expires_at timestamptz NOT NULL,
    ended_at timestamptz
);

CREATE INDEX session_account ON session (account_id);

-- The refresh tokens of a session: each is spent once, in exchange for its successor.
CREATE TABLE refresh_token (
    -- SHA-256 of the token.
    hash bytea PRIMARY KEY,
    session_id text NOT NULL REFERENCES session (id),
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    spent_at timestamptz,
    successor bytea
);

CREATE INDEX refresh_token_session ON refresh_token (session_id);
