-- The erasure of an account's personal data. The account's row stays, with the pseudonym as its names, because the row
-- records the revocation of the account's tokens, and a repeated request finds the account by its id.
ALTER TABLE account
    -- The pseudonym, once the erasure has begun.
    ADD COLUMN erased_as text UNIQUE,
    -- The number of changed and removed rows of each table.
    ADD COLUMN erased_rows jsonb NOT NULL DEFAULT '{}';

-- An erasure may empty the fields of audit entries that identify a person. All other changes are still refused.
CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('svgx.erasing', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE insufficient_privilege USING MESSAGE = 'the audit log is append-only';
END
$$;

CREATE FUNCTION keep_audit_facts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.at, NEW.event) IS DISTINCT FROM (OLD.id, OLD.at, OLD.event)
        OR (NEW.actor_id, NEW.user_id, NEW.session_id) IS DISTINCT FROM (OLD.actor_id, OLD.user_id, OLD.session_id)
        OR NEW.address NOT IN ('', OLD.address)
        OR NEW.user_agent NOT IN ('', OLD.user_agent)
        OR (NEW.detail IS DISTINCT FROM OLD.detail AND NEW.detail <> '{"erased": true}')
    THEN
        RAISE insufficient_privilege USING MESSAGE = 'an erasure only empties the personal fields of audit entries';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_keeps_facts
    BEFORE UPDATE ON audit
    FOR EACH ROW EXECUTE FUNCTION keep_audit_facts();

ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_keeps_facts;
