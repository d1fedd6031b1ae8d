-- The audit log. It has no foreign keys, because an entry stays when its account or session is deleted.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    -- The account that caused the event, or null when it is unknown.
    actor_id text,
    -- The account that the event affects, or null when the event affects no account.
    user_id text,
    session_id text,
    -- The network address of the client.
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

-- The trigger also runs in sessions that switch triggers off (session_replication_role).
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only;
