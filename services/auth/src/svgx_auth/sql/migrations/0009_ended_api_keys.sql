-- Keys are found by when they were over: ended ones are told for a while, and forgotten after a longer one.
DROP INDEX api_key_revoked;
CREATE INDEX api_key_revoked ON api_key (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX api_key_over ON api_key (least(ended_at, expires_at));
