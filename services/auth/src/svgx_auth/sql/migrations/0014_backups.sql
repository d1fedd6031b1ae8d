-- Backups read accounts in the order of the bytes of their ids.
CREATE INDEX account_by_bytes ON account (id COLLATE "C");
