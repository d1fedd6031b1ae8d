-- The named statements that erase the personal data of an account.

-- name: lock_any_account
-- Lock an account, also a deleted one.
SELECT *, erased_rows::text AS erased_rows_json FROM account WHERE id = $1 FOR UPDATE

-- name: begin_account_erasure
UPDATE account SET erased_as = $2 WHERE id = $1

-- name: erase_account
-- Replace the names of an account by its pseudonym, at the domain $2 for the address, and remove its password.
UPDATE account
SET username = erased_as, email = erased_as || $2::text, password_hash = NULL
WHERE id = $1

-- name: erase_rows_of_account
-- Remove the rows of an account in all tables that refer to accounts. Refresh tokens are removed with their sessions.
WITH names AS (
    DELETE FROM account_name WHERE account_id = $1 RETURNING 1
), identities AS (
    DELETE FROM identity WHERE account_id = $1 RETURNING 1
), homes AS (
    DELETE FROM home WHERE account_id = $1 RETURNING 1
), sessions AS (
    DELETE FROM session WHERE account_id = $1 RETURNING 1
), keys AS (
    DELETE FROM api_key WHERE account_id = $1 RETURNING 1
)
SELECT
    (SELECT count(*) FROM names) AS account_name,
    (SELECT count(*) FROM identities) AS identity,
    (SELECT count(*) FROM homes) AS home,
    (SELECT count(*) FROM sessions) AS session,
    (SELECT count(*) FROM keys) AS api_key

-- name: erase_attempts
-- Remove the counts of failed attempts with the keys $1, and with keys that begin with $2.
WITH gone AS (
    DELETE FROM attempt WHERE key = ANY ($1::text[]) OR starts_with(key, $2) RETURNING 1
)
SELECT count(*) AS rows FROM gone

-- name: allow_erasure
-- Let this transaction empty the personal fields of audit entries.
SELECT set_config('svgx.erasing', 'on', true)

-- name: erase_audit
-- Empty the personal fields of at most $2 audit entries of the account $1. In an entry with another actor, the address
-- and the User-Agent belong to that actor and stay. The detail of some events has names of the user. The detail of an
-- admin's operation may have the key of a stored value, which is a text of the user.
WITH entry AS (
    SELECT id, address, user_agent, detail, coalesce(actor_id, user_id) = $1 AS own,
        user_id = $1 AND (
            event IN ('user_renamed', 'identity_linked', 'identity_refused')
            OR event = 'admin_operation' AND detail ? 'key'
        ) AS has_texts
    FROM audit WHERE actor_id = $1 OR user_id = $1
), found AS (
    SELECT id, own, has_texts FROM entry
    WHERE own AND (address <> '' OR user_agent <> '') OR has_texts AND detail <> '{"erased": true}'
    LIMIT $2
), changed AS (
    UPDATE audit a
    SET address = CASE WHEN f.own THEN '' ELSE a.address END,
        user_agent = CASE WHEN f.own THEN '' ELSE a.user_agent END,
        detail = CASE WHEN f.has_texts THEN '{"erased": true}' ELSE a.detail END
    FROM found f WHERE a.id = f.id
    RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: erase_events
-- Replace the id of the account $1 by the pseudonym $2 in at most $3 events that were relayed. Other events keep the id
-- until then, because receivers know the account by it. The account's own event `user.erased` always keeps the id,
-- because receivers find the data that they erase by this id.
WITH changed AS (
    UPDATE event SET actor = CASE WHEN actor = $1 THEN $2 ELSE actor END,
        entity_id = CASE WHEN entity_id = $1 THEN $2 ELSE entity_id END,
        data = replace(data::text, to_jsonb($1::text)::text, to_jsonb($2::text)::text)::jsonb
    WHERE id IN (
        SELECT id FROM event
        WHERE relayed_at IS NOT NULL AND (actor = $1 OR entity_id = $1)
            AND NOT (type = 'user.erased' AND entity_id = $1)
        LIMIT $3
    ) RETURNING 1
)
SELECT count(*) AS rows FROM changed

-- name: note_account_erasure
-- Record the number of changed and removed rows of each table.
UPDATE account SET erased_rows = $2::text::jsonb WHERE id = $1
