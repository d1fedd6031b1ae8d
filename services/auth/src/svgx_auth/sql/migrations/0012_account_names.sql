-- The names of the accounts with their keys (`svgx_auth.names`): two names with the same key look the same to a reader.
-- A row counts only while the account has this name, because an earlier version of the service renames an account
-- without changing this table.
-- The index is not unique, because accounts from before this table may have names with the same key. The service adds
-- the rows of these accounts at its start.
CREATE TABLE account_name (
    account_id text NOT NULL REFERENCES account (id),
    name text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (account_id, name)
);

CREATE INDEX account_name_key ON account_name (key);
