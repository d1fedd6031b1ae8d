-- An account that was created by a sign-in at an OpenID Connect provider has no password.
ALTER TABLE account ALTER COLUMN password_hash DROP NOT NULL;

-- The link between a user of an OpenID Connect provider and an account.
CREATE TABLE identity (
    issuer text NOT NULL,
    subject text NOT NULL,
    account_id text NOT NULL REFERENCES account (id),
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (issuer, subject)
);

CREATE INDEX identity_account ON identity (account_id);

-- Sign-ins that have begun and not ended. Each row is kept for minutes. The table is unlogged, because after a crash of
-- the server a user can begin the sign-in again.
CREATE UNLOGGED TABLE oidc_sign_in (
    -- SHA-256 of the `state` parameter, which the browser carries to the provider and back.
    state bytea PRIMARY KEY,
    provider text NOT NULL,
    -- SHA-256 of the secret in the cookie, which stays in the browser.
    browser bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX oidc_sign_in_oldest ON oidc_sign_in (expires_at);
