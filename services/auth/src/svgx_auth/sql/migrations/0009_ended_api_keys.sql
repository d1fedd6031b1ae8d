-- Indexes by the time at which a key ended. The list of revocations contains an ended key for some time. Its row is
-- removed later.
DROP INDEX api_key_revoked;
CREATE INDEX api_key_revoked ON api_key (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX api_key_over ON api_key (least(ended_at, expires_at));
