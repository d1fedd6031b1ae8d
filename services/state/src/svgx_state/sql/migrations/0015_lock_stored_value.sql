-- Stores a value, as the function of migration 0005 does, and locks the stored value before its version is compared.
--
-- Deletions and erasures do not take the advisory lock. FOR UPDATE waits for their end, and then finds no value.
-- Without it, a write would insert the value again after a deletion of the same version.
CREATE OR REPLACE FUNCTION persist_value(
    of_owner text,
    of_key text,
    new_type text,
    new_value text,
    new_metadata text,
    new_bytes integer,
    seconds double precision,
    -- The version to replace, 0 for a new key, or null for any.
    expected bigint,
    max_keys bigint,
    max_bytes bigint
) RETURNS TABLE (outcome text, detail text, new_version bigint, written_at timestamptz, ends_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    stored stored_value;
    moment timestamptz;
    current_version bigint := 0;
    other_keys bigint;
    other_bytes bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('svgx.state.values'), hashtext(of_owner));
    moment := clock_timestamp();
    SELECT * INTO stored FROM stored_value s
    WHERE s.owner = of_owner AND s.key = of_key AND (s.expires_at IS NULL OR s.expires_at > moment)
    FOR UPDATE;
    IF FOUND THEN
        current_version := stored.version;
    END IF;
    IF expected IS NOT NULL AND expected <> current_version THEN
        RETURN QUERY SELECT 'stale', current_version::text, NULL::bigint, NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    IF current_version > 0 AND stored.state_type <> new_type THEN
        RETURN QUERY SELECT 'type', stored.state_type, NULL::bigint, NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    SELECT count(*), coalesce(sum(s.bytes), 0) INTO other_keys, other_bytes FROM stored_value s
    WHERE s.owner = of_owner AND s.key <> of_key AND (s.expires_at IS NULL OR s.expires_at > moment);
    IF other_keys >= max_keys OR other_bytes + new_bytes > max_bytes THEN
        RETURN QUERY SELECT
            CASE WHEN other_keys >= max_keys THEN 'keys' ELSE 'bytes' END,
            '', NULL::bigint, NULL::timestamptz, NULL::timestamptz;
        RETURN;
    END IF;
    INSERT INTO stored_value AS s
        (owner, key, state_type, version, value, metadata, bytes, updated_at, expires_at)
    VALUES (
        of_owner, of_key, new_type,
        greatest(current_version + 1, floor(extract(epoch FROM moment) * 1000000)::bigint),
        new_value, new_metadata, new_bytes, moment, moment + seconds * interval '1 second')
    ON CONFLICT (owner, key) DO UPDATE SET
        state_type = excluded.state_type, version = greatest(excluded.version, s.version + 1),
        value = excluded.value, metadata = excluded.metadata, bytes = excluded.bytes,
        updated_at = excluded.updated_at, expires_at = excluded.expires_at
    RETURNING s.version, s.updated_at, s.expires_at INTO new_version, written_at, ends_at;
    outcome := 'ok';
    RETURN NEXT;
END
$$;
