-- The named statements of the auth service. Times are timestamptz. Ids are text, except the numbers of audit entries.

-- name: account_by_login
-- Find an account by username or e-mail address. At most one account has the text $1 (ignoring case), because no
-- username is another account's address. If no account has the text, find the oldest account with the key $2, because
-- old accounts may share a key.
WITH found AS (
    SELECT id, 1 AS rank FROM account WHERE lower(username) = lower($1) OR lower(email) = lower($1)
    UNION ALL
    SELECT a.id, 2 FROM account_name n JOIN account a ON a.id = n.account_id AND n.name IN (a.username, a.email)
    WHERE n.key = $2
)
SELECT a.* FROM account a JOIN found USING (id)
WHERE a.deleted_at IS NULL
ORDER BY found.rank, a.created_at
LIMIT 1

-- name: account_by_id
SELECT * FROM account WHERE id = $1 AND deleted_at IS NULL

-- name: any_admin
SELECT 1 FROM account WHERE role = 'admin' AND deleted_at IS NULL LIMIT 1

-- name: active_admin
SELECT 1 FROM account WHERE role = 'admin' AND deleted_at IS NULL AND disabled_at IS NULL LIMIT 1

-- name: any_account
-- Find an account, even a deleted one.
SELECT * FROM account WHERE id = $1

-- name: accounts_of
-- List the accounts with the ids $1 that are not deleted.
SELECT id, role, disabled_at FROM account WHERE id = ANY ($1::text[]) AND deleted_at IS NULL

-- name: lock_accounts
-- Let one transaction at a time create or change accounts. Otherwise, two accounts could take each other's address as
-- username, two replicas could each create a first admin, or two admins could demote each other.
SELECT pg_advisory_xact_lock(hashtext('svgx.auth.account_names'))

-- name: names_taken
-- Return whether the username $1 with the key $2 is taken, and whether the address $3 with the key $4 is taken. Each is
-- taken when an account other than $5, even a deleted one, has it as username or as address, because log-in accepts
-- both. Names are equal when their keys are equal, and also when PostgreSQL's lower() makes them equal. The unique
-- indexes use PostgreSQL's lower() too, and Python's lower() differs for some letters. A name or key that is NULL is not
-- compared.
WITH taken AS (
    SELECT lower(a.username) AS name, NULL AS key FROM account a
    WHERE a.id IS DISTINCT FROM $5 AND lower(a.username) IN (lower($1::text), lower($3::text))
    UNION ALL
    SELECT lower(a.email), NULL FROM account a
    WHERE a.id IS DISTINCT FROM $5 AND lower(a.email) IN (lower($1), lower($3))
    UNION ALL
    SELECT NULL, n.key FROM account_name n
    JOIN account a ON a.id = n.account_id AND n.name IN (a.username, a.email)
    WHERE a.id IS DISTINCT FROM $5 AND n.key IN ($2::text, $4::text)
)
SELECT
    EXISTS (SELECT FROM taken WHERE name = lower($1) OR key = $2) AS username,
    EXISTS (SELECT FROM taken WHERE name = lower($3) OR key = $4) AS email

-- name: names_without_key
-- List at most $1 usernames and addresses without a row in `account_name`, or with the key of an earlier version. Since
-- migration 0016, keys have no joiners. An account that is being erased or was erased gets no row, because the row would
-- bring its name back or would have a pseudonym, under which nobody logs in.
SELECT a.id, v.name FROM account a CROSS JOIN LATERAL (VALUES (a.username), (a.email)) AS v (name)
WHERE a.erased_as IS NULL AND NOT EXISTS (
    SELECT FROM account_name n
    WHERE n.account_id = a.id AND n.name = v.name AND strpos(n.key, chr(8204)) = 0 AND strpos(n.key, chr(8205)) = 0
)
LIMIT $1

-- name: add_account_names
-- A username and an address may be equal. DISTINCT keeps one of them, because the statement must not change a row twice.
INSERT INTO account_name AS n (account_id, name, key)
SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[])
ON CONFLICT (account_id, name) DO UPDATE SET key = excluded.key WHERE n.key <> excluded.key

-- name: forget_old_account_names
-- Remove the rows of the account $1 for names that it no longer has.
DELETE FROM account_name n USING account a
WHERE n.account_id = $1 AND a.id = $1 AND n.name NOT IN (a.username, a.email)

-- name: create_account
INSERT INTO account (id, username, email, password_hash, role) VALUES ($1, $2, $3, $4, $5)
RETURNING *

-- name: renew_password_hash
-- Replace the hash $2, against which the password was checked, by a new hash $3 of the same password. If the password
-- was changed after the check, change nothing.
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
UPDATE account SET deleted_at = NULL WHERE id = $1 AND deleted_at IS NOT NULL AND erased_as IS NULL
RETURNING *

-- name: change_password
-- Replace the hash $2, against which the old password was checked.
UPDATE account SET password_hash = $3
WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL AND deleted_at IS NULL
RETURNING id

-- name: end_tokens
-- End the access tokens of the account $1: tokens of a lower version are refused. `until` is the time at which the last
-- of these tokens or of the account's API keys expires, or now without tokens and keys. API keys count because gateways
-- cache the token version of a checked key. The earlier `tokens_until` counts too, because a restore of a backup adds
-- an account without the sessions of its earlier tokens.
UPDATE account
SET token_version = token_version + 1,
    tokens_ended_at = clock_timestamp(),
    tokens_until = greatest(
        tokens_until,
        (SELECT max(access_until) FROM session WHERE account_id = $1),
        (SELECT max(expires_at) FROM api_key WHERE account_id = $1 AND ended_at IS NULL)
    )
WHERE id = $1
RETURNING id, token_version, extract(epoch FROM coalesce(tokens_until, clock_timestamp()))::float8 AS until

-- name: accounts_after
-- List a page of accounts, oldest first, after the account (created_at $2, id $3). $4 is a part of the username or
-- address, or null. $5 selects deleted accounts instead of the others.
SELECT * FROM account
WHERE (deleted_at IS NOT NULL) = $5
    AND ($2::timestamptz IS NULL OR (created_at, id) > ($2, $3::text))
    AND (
        $4::text IS NULL
        OR strpos(lower(normalize(username)), lower(normalize($4))) > 0
        OR strpos(lower(normalize(email)), lower(normalize($4))) > 0
    )
ORDER BY created_at, id
LIMIT $1

-- name: lock_account
-- Lock an account while a session is opened or refreshed, so that no other transaction changes the account meanwhile.
-- A transaction that locks an account and its sessions locks the account first; this order prevents deadlocks.
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
-- Lock a live session, so that its refresh tokens are spent one after the other.
SELECT *, extract(epoch FROM expires_at)::float8 AS expires FROM session
WHERE id = $1 AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
FOR UPDATE

-- name: refresh_token_state
-- Return the state of the token $1. `recent` means that it was spent within the last $2 seconds, and that its successor
-- is not spent.
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
-- Record a refresh. $2 is the time until which the newest access token is valid.
UPDATE session
SET last_used_at = clock_timestamp(), access_until = greatest(access_until, to_timestamp($2)),
    address = $3, user_agent = $4, idle_until = clock_timestamp() + make_interval(secs => $5)
WHERE id = $1

-- name: end_session
-- End a live session of the account $2. $3 is the reason. A session ends once.
UPDATE session SET ended_at = clock_timestamp(), end_reason = $3
WHERE id = $1 AND account_id = $2 AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
RETURNING id, account_id, end_reason, extract(epoch FROM access_until)::float8 AS until

-- name: end_other_sessions
-- End all live sessions of the account $1, except the session $2. If $2 is null, end all of them. $3 is the reason.
UPDATE session SET ended_at = clock_timestamp(), end_reason = $3
WHERE account_id = $1 AND id IS DISTINCT FROM $2
    AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
RETURNING id, account_id, end_reason, extract(epoch FROM access_until)::float8 AS until

-- name: live_sessions_before
-- List a page of the live sessions of the account $1, newest first, before the session (created_at $3, id $4).
SELECT * FROM session
WHERE account_id = $1 AND ended_at IS NULL AND least(expires_at, idle_until) > clock_timestamp()
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::text))
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: forget_refresh_tokens
-- Remove at most $2 refresh tokens of sessions that ended or expired more than $1 seconds ago.
WITH gone AS (
    DELETE FROM refresh_token WHERE hash IN (
        SELECT t.hash FROM refresh_token t JOIN session s ON s.id = t.session_id
        WHERE least(s.ended_at, s.expires_at, s.idle_until) < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: forget_sessions
-- Remove at most $2 sessions that ended or expired more than $1 seconds ago. forget_refresh_tokens has removed their
-- tokens before, of which a session may have millions.
WITH gone AS (
    DELETE FROM session WHERE id IN (
        SELECT id FROM session
        WHERE least(ended_at, expires_at, idle_until) < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: clock
SELECT clock_timestamp() AS now

-- name: revoked_sessions
-- List the sessions that ended after $1, or all when $1 is null, while their access tokens have not expired. Sessions
-- stay in the list for one more minute, because clocks differ.
SELECT
    id, account_id, coalesce(end_reason, 'by hand') AS end_reason,
    extract(epoch FROM access_until)::float8 AS until
FROM session
WHERE ended_at IS NOT NULL AND access_until > clock_timestamp() - interval '1 minute'
    AND ($1::timestamptz IS NULL OR ended_at > $1)

-- name: revoked_accounts
-- List the accounts with tokens that were ended after $1, or at any time when $1 is null, while these tokens have not
-- expired. Accounts stay in the list for one more minute, because clocks differ.
SELECT id, token_version, extract(epoch FROM tokens_until)::float8 AS until FROM account
WHERE tokens_until > clock_timestamp() - interval '1 minute'
    AND ($1::timestamptz IS NULL OR tokens_ended_at > $1)

-- name: place_of_log_in
-- Return whether the network $2 is a home of the account $1, and the number of failures under the key $4. Failures are
-- forgotten $5 seconds after the last. The network also counts as a home when a session of the account has the address
-- $3, because a session that was last used by an earlier version of this service has no row in `home`. For an unknown
-- name, $1 is empty.
SELECT
    EXISTS (SELECT FROM home WHERE account_id = $1 AND network = $2)
    OR EXISTS (SELECT FROM session WHERE account_id = $1 AND address = $3::text AND $3 <> '') AS home,
    coalesce((
        SELECT failures FROM attempt
        WHERE key = $4 AND last_at > clock_timestamp() - make_interval(secs => $5)
    ), 0) AS failures

-- name: remember_home
-- Remember the network $2 as a home of the account $1. `added` is true for a new home. Return no row when the home was
-- used less than $3 seconds ago.
INSERT INTO home AS h (account_id, network) VALUES ($1, $2)
ON CONFLICT (account_id, network) DO UPDATE SET last_used_at = clock_timestamp()
WHERE h.last_used_at < clock_timestamp() - make_interval(secs => $3)
RETURNING xmax = 0 AS added

-- name: forget_unused_homes
-- Keep the $2 homes of the account $1 that were used last. A home that is used while the statement runs stays.
DELETE FROM home WHERE account_id = $1 AND (network, last_used_at) IN (
    SELECT network, last_used_at FROM home WHERE account_id = $1 ORDER BY last_used_at DESC OFFSET $2
)

-- name: forget_homes
-- Remove at most $2 homes that were last used more than $1 seconds ago. A home that is used while the statement runs
-- stays.
WITH gone AS (
    DELETE FROM home WHERE (account_id, network, last_used_at) IN (
        SELECT account_id, network, last_used_at FROM home
        WHERE last_used_at < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: attempt_wait
-- Return the seconds until the next attempt with the key $1 is allowed. The wait is 1 second after $2 failures, and
-- doubles with each further failure up to $3 seconds. Failures are forgotten $4 seconds after the last. After a failure
-- with a time after the clock there is no wait, because the clock was set back and the wait would last until that time.
SELECT extract(epoch FROM
    last_at + make_interval(secs => CASE WHEN failures < $2 THEN 0 ELSE least($3::float8, power(2, least(failures - $2, 30))) END) - clock_timestamp()
)::float8 AS seconds
FROM attempt
WHERE key = $1 AND last_at > clock_timestamp() - make_interval(secs => $4) AND last_at <= clock_timestamp()

-- name: count_attempt
-- Count a failure and return a row. When the attempt came too early, count nothing and return no row. The first four
-- parameters are those of attempt_wait. The number of earlier failures halves in $5 seconds, unless $5 is null.
INSERT INTO attempt AS a (key, failures, last_at) VALUES ($1, 1, clock_timestamp())
ON CONFLICT (key) DO UPDATE
SET failures = CASE
        WHEN a.last_at > clock_timestamp() - make_interval(secs => $4) THEN 1 + ceil(a.failures * coalesce(
            power(0.5, greatest(extract(epoch FROM clock_timestamp() - a.last_at), 0)::float8 / $5::float8), 1
        ))
        ELSE 1
    END,
    last_at = clock_timestamp()
WHERE a.last_at > clock_timestamp()
    OR a.last_at <= clock_timestamp() - make_interval(secs => CASE WHEN a.failures < $2 THEN 0 ELSE least($3::float8, power(2, least(a.failures - $2, 30))) END)
RETURNING failures

-- name: forget_attempt
DELETE FROM attempt WHERE key = $1

-- name: forget_attempts
-- Remove at most $2 rows with a last failure more than $1 seconds ago. A row with a failure that is counted while the
-- statement runs stays.
WITH gone AS (
    DELETE FROM attempt WHERE (key, last_at) IN (
        SELECT key, last_at FROM attempt WHERE last_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: record_event
INSERT INTO audit (event, actor_id, user_id, session_id, address, user_agent, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)

-- name: audit_before
-- List a page of entries, newest first, before the entry (at $2, id $3). Select the event $4, the actor or user $5, the
-- address $6, and the times from $7 (included) to $8 (excluded). A parameter that is null selects all entries.
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
-- Count the live keys of the account $1, and its recent keys, which were created in the last $2 seconds. `wait` is the
-- number of seconds until the oldest recent key is no longer recent.
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
-- End a live key of the account $2, or of any account when $2 is null. `until` is the time until which
-- the gateways keep the revocation: the key's expiry, or $3 seconds from now if that is earlier.
UPDATE api_key SET ended_at = clock_timestamp()
WHERE id = $1 AND ($2::text IS NULL OR account_id = $2)
    AND ended_at IS NULL AND expires_at > clock_timestamp()
RETURNING
    id, account_id, prefix,
    extract(epoch FROM least(expires_at, ended_at + make_interval(secs => $3)))::float8 AS until

-- name: api_keys_before
-- List a page of the live keys of the account $1, newest first, before the key (created_at $3, id $4).
SELECT * FROM api_key
WHERE account_id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::text))
ORDER BY created_at DESC, id DESC
LIMIT $2

-- name: use_api_key
-- Find the live key with the hash $1. Its account must be active, and must not have lost its role at an OpenID Connect
-- provider. `last_used_at` is updated when it is more than $2 seconds old.
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
-- List the keys that ended after $1, or at any time when $1 is null. Leave out keys that have expired, and keys that
-- ended more than $2 seconds ago. Keys stay in the list for one more minute, because clocks differ.
SELECT
    id, account_id,
    extract(epoch FROM least(expires_at, ended_at + make_interval(secs => $2)))::float8 AS until
FROM api_key
WHERE ended_at > clock_timestamp() - make_interval(secs => $2) - interval '1 minute'
    AND expires_at > clock_timestamp() - interval '1 minute'
    AND ($1::timestamptz IS NULL OR ended_at > $1)

-- name: forget_api_keys
-- Remove at most $2 keys that ended or expired more than $1 seconds ago.
WITH gone AS (
    DELETE FROM api_key WHERE id IN (
        SELECT id FROM api_key
        WHERE least(ended_at, expires_at) < clock_timestamp() - make_interval(secs => $1)
        LIMIT $2
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: begin_oidc
INSERT INTO oidc_sign_in (state, provider, browser, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))

-- name: end_oidc
-- Finish a pending sign-in, once, in the browser that began it.
DELETE FROM oidc_sign_in
WHERE state = $1 AND provider = $2 AND browser = $3 AND expires_at > clock_timestamp()
RETURNING state

-- name: forget_oidc
-- Remove at most $1 expired sign-ins.
WITH gone AS (
    DELETE FROM oidc_sign_in WHERE state IN (
        SELECT state FROM oidc_sign_in WHERE expires_at < clock_timestamp() LIMIT $1
    ) RETURNING 1
)
SELECT count(*) AS number FROM gone

-- name: account_of_identity
-- Find the account of an identity, even when the account is deleted.
SELECT a.* FROM identity i JOIN account a ON a.id = i.account_id WHERE i.issuer = $1 AND i.subject = $2

-- name: refuse_identity
-- Record that the provider gives the account $1 no role: its API keys are refused.
UPDATE identity SET refused_at = coalesce(refused_at, clock_timestamp()) WHERE account_id = $1

-- name: clear_refusal
-- Record that the account $1 has a role again. Return a row if it had none.
UPDATE identity SET refused_at = NULL WHERE account_id = $1 AND refused_at IS NOT NULL
RETURNING true AS resumed

-- name: add_identity
INSERT INTO identity (issuer, subject, account_id) VALUES ($1, $2, $3)
