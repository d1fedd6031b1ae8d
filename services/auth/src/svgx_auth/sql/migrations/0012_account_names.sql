-- The names of the accounts with their keys (`svgx_auth.names`): two names with one key are the same name to a reader.
-- A row counts only while the account has this name, because an earlier version of the service changes `account` alone.
-- The index is not unique, because accounts from before this table may have names with one key. The service adds the
-- rows of these accounts at its start.
CREATE TABLE account_name (
    account_id text NOT NULL REFERENCES account (id),
    name text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (account_id, name)
);

CREATE INDEX account_name_key ON account_name (key);
