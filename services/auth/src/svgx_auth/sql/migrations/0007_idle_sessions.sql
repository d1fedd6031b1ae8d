-- Each refresh moves `idle_until` forward. A session that is not refreshed ends at `idle_until`, before `expires_at`.
ALTER TABLE session ADD COLUMN idle_until timestamptz;
UPDATE session SET idle_until = expires_at;
ALTER TABLE session ALTER COLUMN idle_until SET NOT NULL;

DROP INDEX session_over;
CREATE INDEX session_over ON session (least(ended_at, expires_at, idle_until));
