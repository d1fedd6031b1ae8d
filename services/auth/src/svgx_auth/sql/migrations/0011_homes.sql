-- The networks at which an account has had a session. Failed log-ins from other networks do not delay log-ins from
-- these networks.
CREATE TABLE home (
    account_id text NOT NULL REFERENCES account (id),
    -- An IPv4 address, or the /64 network of an IPv6 address.
    network text NOT NULL,
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_id, network)
);

CREATE INDEX home_oldest ON home (last_used_at);
