-- The time since which the provider gives this user no role. Meanwhile, the account's API keys are refused.
ALTER TABLE identity ADD COLUMN refused_at timestamptz;
