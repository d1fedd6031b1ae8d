-- Named statements of the auth service. Times are timestamptz; ids are text.

-- name: account_by_login
-- By username or e-mail address; nobody's username is somebody else's address.
SELECT * FROM account
WHERE (lower(username) = lower($1) OR lower(email) = lower($1)) AND deleted_at IS NULL

-- name: account_by_id
SELECT * FROM account WHERE id = $1 AND deleted_at IS NULL

-- name: any_admin
SELECT 1 FROM account WHERE role = 'admin' AND deleted_at IS NULL LIMIT 1

-- name: lock_creation
-- One account is created at a time: two could otherwise take each other's address as username, or both be first admin.
SELECT pg_advisory_xact_lock(hashtext('svgx.auth.account_names'))

-- name: names_taken
-- Whether an account, a deleted one too, has this username $1 or address $2 as either: log-in takes either.
-- Compared here and not in Python: the unique indexes go by this lower(), and the two differ for some letters.
SELECT
    EXISTS (
        SELECT FROM account
        WHERE lower(username) = lower($1::text) OR lower(email) = lower($1::text)
    ) AS username,
    EXISTS (
        SELECT FROM account
        WHERE lower(username) = lower($2::text) OR lower(email) = lower($2::text)
    ) AS email

-- name: create_account
INSERT INTO account (id, username, email, password_hash, role) VALUES ($1, $2, $3, $4, $5)
RETURNING *

-- name: renew_password_hash
-- $2 is the hash the password was checked against: a password changed since then stays.
UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2

-- name: accounts_after
-- A page of accounts, oldest first, after the account (created_at $2, id $3).
SELECT * FROM account
WHERE deleted_at IS NULL AND ($2::timestamptz IS NULL OR (created_at, id) > ($2, $3::text))
ORDER BY created_at, id
LIMIT $1

-- name: open_session
INSERT INTO session (id, account_id, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))

-- name: add_refresh_token
INSERT INTO refresh_token (hash, session_id) VALUES ($1, $2)

-- name: spend_refresh_token
-- Once, while its session lives.
UPDATE refresh_token t SET spent_at = clock_timestamp(), successor = $2
FROM session s
WHERE t.hash = $1 AND t.spent_at IS NULL
    AND s.id = t.session_id AND s.ended_at IS NULL AND s.expires_at > clock_timestamp()
RETURNING t.session_id, s.account_id
