-- Values that clients keep under keys. A value counts as missing after its expires_at.

-- name: persist_value
-- Store a value, or return the reason for a refusal. Migration 0015 defines the function.
SELECT outcome, detail, new_version, written_at, ends_at FROM persist_value($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: stored_value
SELECT key, state_type, version, value, metadata, updated_at, expires_at FROM stored_value
WHERE owner = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: delete_stored_value
-- Delete a value if its version is $3 (null for any). Return the stored version, and whether the value was deleted.
-- FOR UPDATE waits for an earlier write of the stored value, and sees it. A later write waits for this deletion.
WITH stored AS MATERIALIZED (
    SELECT version FROM stored_value
    WHERE owner = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > clock_timestamp())
    FOR UPDATE
), deleted AS (
    DELETE FROM stored_value s USING stored
    WHERE s.owner = $1 AND s.key = $2 AND ($3::bigint IS NULL OR stored.version = $3)
    RETURNING s.version
)
SELECT stored.version, EXISTS (SELECT FROM deleted) AS deleted FROM stored

-- name: stored_keys
-- Read at most $5 keys of an owner and type $2 with the prefix $3, sorted, starting after the key $4.
SELECT key, state_type, version, updated_at, expires_at FROM stored_value
WHERE owner = $1 AND state_type = $2 AND starts_with(key, $3) AND key > $4
    AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY key
LIMIT $5

-- name: erase_stored_values
WITH erased AS (
    DELETE FROM stored_value WHERE owner = $1 RETURNING 1
)
SELECT count(*) AS number FROM erased

-- name: expire_stored_values
-- Delete at most $1 expired values. Return their number. Values that another replica deletes are skipped.
WITH ended AS (
    SELECT owner, key FROM stored_value WHERE expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT $1
    FOR UPDATE SKIP LOCKED
), expired AS (
    DELETE FROM stored_value s USING ended
    WHERE s.owner = ended.owner AND s.key = ended.key
    RETURNING 1
)
SELECT count(*) AS number FROM expired
