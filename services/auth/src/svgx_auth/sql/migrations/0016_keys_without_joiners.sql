-- Keys have no zero-width joiner and no zero-width non-joiner. The service adds the removed rows with their new keys at
-- its start (`AccountNames.add_missing`). Until then, the accounts can log in with their exact names.
DELETE FROM account_name WHERE strpos(key, chr(8204)) > 0 OR strpos(key, chr(8205)) > 0;
