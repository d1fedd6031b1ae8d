-- Named statements of the auth service. Times are timestamptz; ids are text.

-- name: account_by_login
-- By username or e-mail address; nobody's username is somebody else's address.
SELECT * FROM account
WHERE (lower(username) = lower($1) OR lower(email) = lower($1)) AND deleted_at IS NULL

-- name: account_by_id
SELECT * FROM account WHERE id = $1 AND deleted_at IS NULL

-- name: any_admin
SELECT 1 FROM account WHERE role = 'admin' AND deleted_at IS NULL LIMIT 1

-- name: any_account
-- Deleted ones too.
SELECT * FROM account WHERE id = $1

-- name: lock_accounts
-- One account is created or changed at a time: two could otherwise take each other's address as username, both be first
-- admin, or demote each other.
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

-- name: names_taken_by_others
-- The same for a change of the account $1.
SELECT
    EXISTS (
        SELECT FROM account
        WHERE id <> $1 AND (lower(username) = lower($2::text) OR lower(email) = lower($2::text))
    ) AS username,
    EXISTS (
        SELECT FROM account
        WHERE id <> $1 AND (lower(username) = lower($3::text) OR lower(email) = lower($3::text))
    ) AS email

-- name: create_account
INSERT INTO account (id, username, email, password_hash, role) VALUES ($1, $2, $3, $4, $5)
RETURNING *

-- name: renew_password_hash
-- $2 is the hash the password was checked against: a password changed since then stays.
UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2 RETURNING *

-- name: lock_account_for_change
SELECT * FROM account WHERE id = $1 AND deleted_at IS NULL FOR UPDATE

-- name: another_admin
SELECT 1 FROM account
WHERE role = 'admin' AND deleted_at IS NULL AND disabled_at IS NULL AND id <> $1
LIMIT 1

-- name: update_account
UPDATE account
SET username = coalesce($2, username), email = coalesce($3, email), role = $4,
    disabled_at = CASE WHEN $5 THEN coalesce(disabled_at, clock_timestamp()) END,
    password_hash = coalesce($6, password_hash)
WHERE id = $1
RETURNING *

-- name: delete_account
UPDATE account SET deleted_at = clock_timestamp() WHERE id = $1

-- name: restore_account
UPDATE account SET deleted_at = NULL WHERE id = $1 AND deleted_at IS NOT NULL
RETURNING *

-- name: change_password
-- $2 is the hash the old password was checked against.
UPDATE account SET password_hash = $3
WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL AND deleted_at IS NULL
RETURNING id

-- name: end_tokens
-- Those of the new version count; `until` is null where there was never a token.
UPDATE account
SET token_version = token_version + 1,
    tokens_ended_at = clock_timestamp(),
    tokens_until = greatest(
        (SELECT max(access_until) FROM session WHERE account_id = $1),
        (SELECT max(expires_at) FROM api_key WHERE account_id = $1 AND ended_at IS NULL)
    )
WHERE id = $1
RETURNING id, token_version, extract(epoch FROM coalesce(tokens_until, clock_timestamp()))::float8 AS until

-- name: accounts_after
-- A page of accounts, oldest first, after the account (created_at $2, id $3), with $4 in a name: the deleted or the others.
SELECT * FROM account
WHERE (deleted_at IS NOT NULL) = $5
    AND ($2::timestamptz IS NULL OR (created_at, id) > ($2, $3::text))
    AND (
        $4::text IS NULL
        OR strpos(lower(username), lower($4)) > 0
        OR strpos(lower(email), lower($4)) > 0
    )
ORDER BY created_at, id
LIMIT $1

-- name: lock_account
-- Held while a session is opened or goes on: a change of the account comes before it, or after all of it. Whoever locks
-- an account and its sessions locks the account first.
SELECT * FROM account WHERE id = $1 AND deleted_at IS NULL FOR SHARE

-- name: open_session
INSERT INTO session (id, account_id, expires_at, access_until, address, user_agent, idle_until)
VALUES (
    $1, $2, to_timestamp($3), to_timestamp($4), $5, $6, clock_timestamp() + make_interval(secs => $7)
)

-- name: add_refresh_token
INSERT INTO refresh_token (hash, session_id) VALUES ($1, $2)

-- name: session_of_refresh_token
SELECT s.id, s.account_id FROM refresh_token t JOIN session s ON s.id = t.session_id WHERE t.hash = $1

-- name: lock_live_session
-- Its tokens are spent one after the other.
SELECT *, extract(epoch FROM expires_at)::float8 AS expires FROM session
WHERE id = $1 AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
FOR UPDATE

-- name: refresh_token_state
-- `recent`: spent within the last $2 seconds, for a successor that is not spent itself.
SELECT
    t.successor,
    t.spent_at IS NOT NULL AS spent,
    coalesce(
        t.spent_at > clock_timestamp() - make_interval(secs => $2)
        AND EXISTS (SELECT FROM refresh_token n WHERE n.hash = t.successor AND n.spent_at IS NULL),
        false
    ) AS recent
FROM refresh_token t
WHERE t.hash = $1

-- name: spend_refresh_token
UPDATE refresh_token SET spent_at = clock_timestamp(), successor = $2 WHERE hash = $1

-- name: use_session
-- $2 is when the newest access token counts no more.
UPDATE session
SET last_used_at = clock_timestamp(), access_until = greatest(access_until, to_timestamp($2)),
    address = $3, user_agent = $4, idle_until = clock_timestamp() + make_interval(secs => $5)
WHERE id = $1

-- name: end_session
-- $3 is why. Ended once.
UPDATE session SET ended_at = clock_timestamp(), end_reason = $3
WHERE id = $1 AND account_id = $2 AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
RETURNING id, account_id, end_reason, extract(epoch FROM access_until)::float8 AS until

-- name: end_other_sessions
-- All of the account $1 but $2, which may be null.
UPDATE session SET ended_at = clock_timestamp(), end_reason = $3
WHERE account_id = $1 AND id IS DISTINCT FROM $2
    AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
RETURNING id, account_id, end_reason, extract(epoch FROM access_until)::float8 AS until

-- name: live_sessions_before
-- A page of an account's sessions $1, newest first, before the session (created_at $3, id $4).
SELECT * FROM session
WHERE account_id = $1 AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::text))
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: forget_sessions
-- At most $2 of those that have been over for $1 seconds, with their tokens.
DELETE FROM session WHERE id IN (
    SELECT id FROM session
    WHERE least(ended_at, expires_at, idle_until) < clock_timestamp() - make_interval(secs => $1)
    LIMIT $2
)

-- name: clock
SELECT clock_timestamp() AS now

-- name: revoked_sessions
-- Ended after $1 and still of interest; a minute more than that, as clocks differ.
SELECT
    id, account_id, coalesce(end_reason, 'by hand') AS end_reason,
    extract(epoch FROM access_until)::float8 AS until
FROM session
WHERE ended_at IS NOT NULL AND access_until > clock_timestamp() - interval '1 minute'
    AND ($1::timestamptz IS NULL OR ended_at > $1)

-- name: revoked_accounts
SELECT id, token_version, extract(epoch FROM tokens_until)::float8 AS until FROM account
WHERE tokens_until > clock_timestamp() - interval '1 minute'
    AND ($1::timestamptz IS NULL OR tokens_ended_at > $1)

-- name: attempted_name
-- The typed name $1 under the key $3, and whether its account has a session from the address $2.
SELECT
    sha256($3::bytea || convert_to(lower($1::text), 'UTF8')) AS name,
    EXISTS (
        SELECT FROM account a JOIN session s ON s.account_id = a.id
        WHERE (lower(a.username) = lower($1) OR lower(a.email) = lower($1))
            AND s.address = $2::text AND $2 <> ''
    ) AS known

-- name: attempt_wait
-- Seconds until the next attempt with the key $1 is taken: $2 failures are free, $3 seconds the longest wait, and after
-- $4 seconds everything is forgotten.
SELECT extract(epoch FROM
    last_at + make_interval(secs => CASE WHEN failures < $2 THEN 0 ELSE least($3::float8, power(2, least(failures - $2, 30))) END) - clock_timestamp()
)::float8 AS seconds
FROM attempt
WHERE key = $1 AND last_at > clock_timestamp() - make_interval(secs => $4)

-- name: count_attempt
-- No row: it came too soon. The parameters are those of `attempt_wait`.
INSERT INTO attempt AS a (key, failures, last_at) VALUES ($1, 1, clock_timestamp())
ON CONFLICT (key) DO UPDATE
SET failures = CASE
        WHEN a.last_at > clock_timestamp() - make_interval(secs => $4) THEN a.failures + 1 ELSE 1
    END,
    last_at = clock_timestamp()
WHERE a.last_at <= clock_timestamp() - make_interval(secs => CASE WHEN a.failures < $2 THEN 0 ELSE least($3::float8, power(2, least(a.failures - $2, 30))) END)
RETURNING failures

-- name: forget_attempt
DELETE FROM attempt WHERE key = $1

-- name: forget_attempts
-- At most $2 whose last failure is $1 seconds ago.
DELETE FROM attempt WHERE key IN (
    SELECT key FROM attempt WHERE last_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2
)

-- name: record_event
INSERT INTO audit (event, actor_id, user_id, session_id, address, user_agent, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)

-- name: audit_before
-- A page of entries, newest first, before the entry (at $2, id $3): of the event $4, by or about the user $5, from the
-- address $6, not before $7, before $8.
SELECT e.*, actor.username AS actor, about.username AS username
FROM audit e
LEFT JOIN account actor ON actor.id = e.actor_id
LEFT JOIN account about ON about.id = e.user_id
WHERE ($2::timestamptz IS NULL OR (e.at, e.id) < ($2, $3::bigint))
    AND ($4::text IS NULL OR e.event = $4)
    AND ($5::text IS NULL OR e.actor_id = $5 OR e.user_id = $5)
    AND ($6::text IS NULL OR e.address = $6)
    AND ($7::timestamptz IS NULL OR e.at >= $7)
    AND ($8::timestamptz IS NULL OR e.at < $8)
ORDER BY e.at DESC, e.id DESC
LIMIT $1

-- name: count_api_keys
-- The live ones, those made in the last $2 seconds, and the seconds until one of these is older.
SELECT
    count(*) FILTER (WHERE ended_at IS NULL AND expires_at > clock_timestamp()) AS live,
    count(*) FILTER (WHERE created_at > clock_timestamp() - make_interval(secs => $2)) AS recent,
    extract(epoch FROM
        min(created_at) FILTER (WHERE created_at > clock_timestamp() - make_interval(secs => $2))
        + make_interval(secs => $2) - clock_timestamp()
    )::float8 AS wait
FROM api_key
WHERE account_id = $1

-- name: create_api_key
INSERT INTO api_key (id, account_id, name, prefix, hash, role, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(days => $7))
RETURNING *

-- name: end_api_key
-- Of the account $2, or of any when that is null. `until` is when no gateway needs to know any more: $3 seconds later.
UPDATE api_key SET ended_at = clock_timestamp()
WHERE id = $1 AND ($2::text IS NULL OR account_id = $2)
    AND ended_at IS NULL AND expires_at > clock_timestamp()
RETURNING
    id, account_id, prefix,
    extract(epoch FROM least(expires_at, ended_at + make_interval(secs => $3)))::float8 AS until

-- name: api_keys_before
-- A page of an account's live keys $1, newest first, before the key (created_at $3, id $4).
SELECT * FROM api_key
WHERE account_id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::text))
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: use_api_key
-- The live key of an active account. Its use is noted when the last note is $2 seconds old.
WITH found AS (
    SELECT
        k.id, k.account_id, k.role, k.last_used_at, a.username, a.role AS account_role,
        a.token_version, extract(epoch FROM k.expires_at)::float8 AS expires
    FROM api_key k JOIN account a ON a.id = k.account_id
    WHERE k.hash = $1 AND k.ended_at IS NULL AND k.expires_at > clock_timestamp()
        AND a.disabled_at IS NULL AND a.deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM identity i WHERE i.account_id = a.id AND i.refused_at IS NOT NULL)
), noted AS (
    UPDATE api_key k SET last_used_at = clock_timestamp() FROM found
    WHERE k.id = found.id
        AND coalesce(k.last_used_at < clock_timestamp() - make_interval(secs => $2), true)
)
SELECT * FROM found

-- name: revoked_api_keys
-- Ended after $1, and not over for $2 seconds, as above.
SELECT
    id, account_id,
    extract(epoch FROM least(expires_at, ended_at + make_interval(secs => $2)))::float8 AS until
FROM api_key
WHERE ended_at > clock_timestamp() - make_interval(secs => $2) - interval '1 minute'
    AND expires_at > clock_timestamp() - interval '1 minute'
    AND ($1::timestamptz IS NULL OR ended_at > $1)

-- name: forget_api_keys
-- At most $2 of those that have been over for $1 seconds.
DELETE FROM api_key WHERE id IN (
    SELECT id FROM api_key
    WHERE least(ended_at, expires_at) < clock_timestamp() - make_interval(secs => $1)
    LIMIT $2
)

-- name: begin_oidc
INSERT INTO oidc_sign_in (state, provider, browser, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))

-- name: end_oidc
-- Once, and in the browser in which it was begun.
DELETE FROM oidc_sign_in
WHERE state = $1 AND provider = $2 AND browser = $3 AND expires_at > clock_timestamp()
RETURNING state

-- name: forget_oidc
-- At most $1.
DELETE FROM oidc_sign_in WHERE state IN (
    SELECT state FROM oidc_sign_in WHERE expires_at < clock_timestamp() LIMIT $1
)

-- name: account_of_identity
-- Deleted ones too.
SELECT a.* FROM identity i JOIN account a ON a.id = i.account_id WHERE i.issuer = $1 AND i.subject = $2

-- name: refuse_identity
UPDATE identity SET refused_at = coalesce(refused_at, clock_timestamp()) WHERE account_id = $1

-- name: accept_identity
UPDATE identity SET refused_at = NULL WHERE account_id = $1 AND refused_at IS NOT NULL

-- name: add_identity
INSERT INTO identity (issuer, subject, account_id) VALUES ($1, $2, $3)
