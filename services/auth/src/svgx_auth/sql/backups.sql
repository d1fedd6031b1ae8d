-- The accounts of backups, with their secrets.

-- name: accounts_to_back_up
-- Read a page of $2 accounts after the id $1, also deleted ones, in the order of the bytes of their ids.
SELECT
    a.id, a.username, a.email, a.password_hash, a.role, a.created_at, a.disabled_at, a.deleted_at, a.erased_as,
    a.token_version,
    coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'issuer', i.issuer, 'subject', i.subject, 'linked_at', i.linked_at, 'refused_at', i.refused_at)
            ORDER BY i.issuer, i.subject)
        FROM identity i WHERE i.account_id = a.id
    ), '[]')::text AS identities,
    coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'id', k.id, 'name', k.name, 'prefix', k.prefix, 'hash', encode(k.hash, 'hex'), 'role', k.role,
            'created_at', k.created_at, 'expires_at', k.expires_at, 'last_used_at', k.last_used_at,
            'ended_at', k.ended_at)
            ORDER BY k.id)
        FROM api_key k WHERE k.account_id = a.id
    ), '[]')::text AS api_keys
FROM account a
WHERE $1::text IS NULL OR a.id COLLATE "C" > $1
ORDER BY a.id COLLATE "C"
LIMIT $2

-- name: count_accounts
SELECT count(*) AS total FROM account

-- name: known_identity
SELECT account_id FROM identity WHERE issuer = $1 AND subject = $2

-- name: add_stored_account
-- Add an account of a backup. After it, end_tokens ends the access tokens from before the restore. These tokens expire
-- within a day, the maximum of JWT_EXPIRES_IN, and gateways accept them a few seconds longer.
-- The version of these tokens may be higher than in the backup, because the account may have changed since. So the
-- version is at least the number of seconds since 2020, which is higher than the number of an account's changes
-- (docs/decisions/0096).
INSERT INTO account (
    id, username, email, password_hash, role, created_at, disabled_at, deleted_at,
    token_version, tokens_ended_at, tokens_until, erased_as)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8,
    greatest($9, extract(epoch FROM clock_timestamp() - timestamptz '2020-01-01 00:00:00+00')::integer),
    clock_timestamp(), clock_timestamp() + interval '1 day 1 minute', $10)
RETURNING *

-- name: add_stored_identity
INSERT INTO identity (issuer, subject, account_id, linked_at, refused_at) VALUES ($1, $2, $3, $4, $5)

-- name: add_stored_api_key
INSERT INTO api_key (id, account_id, name, prefix, hash, role, created_at, expires_at, last_used_at, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING
