-- The time at which the webhook last became active again; null if it never did. The time in which its failed deliveries
-- are repeated begins at `webhook_delivery.started_at` or at this time, at the later of the two. Only replicas from
-- before this migration write this time to `started_at` of each pending delivery.
ALTER TABLE webhook ADD COLUMN resumed_at timestamptz;
