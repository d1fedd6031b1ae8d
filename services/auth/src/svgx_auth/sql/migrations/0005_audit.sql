-- Who did what, when, from where. No foreign keys: an entry outlives everything it is about.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    -- Who did it, where that is known.
    actor_id text,
    -- Whose account it is about, where there is one.
    user_id text,
    session_id text,
    address text NOT NULL,
    user_agent text NOT NULL,
    detail jsonb NOT NULL
);

CREATE INDEX audit_newest ON audit (at, id);
CREATE INDEX audit_user ON audit (user_id, at);
CREATE INDEX audit_actor ON audit (actor_id, at);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'the audit log is append-only';
END
$$;

CREATE TRIGGER audit_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- Also for sessions that switch triggers off (session_replication_role).
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only;
