-- Since when the provider gives this person no role: the account's API keys rest until it does.
ALTER TABLE identity ADD COLUMN refused_at timestamptz;
