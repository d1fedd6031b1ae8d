-- Whoever signs in elsewhere has no password here.
ALTER TABLE account ALTER COLUMN password_hash DROP NOT NULL;

-- Somebody at an OpenID Connect provider.
CREATE TABLE identity (
    issuer text NOT NULL,
    subject text NOT NULL,
    account_id text NOT NULL REFERENCES account (id),
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (issuer, subject)
);

CREATE INDEX identity_account ON identity (account_id);

-- Sign-ins that are under way, for minutes. Unlogged: whom a crash of the server interrupts begins again.
CREATE UNLOGGED TABLE oidc_sign_in (
    -- SHA-256 of what travels through the browser, and of what stays in it.
    state bytea PRIMARY KEY,
    provider text NOT NULL,
    browser bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX oidc_sign_in_oldest ON oidc_sign_in (expires_at);
