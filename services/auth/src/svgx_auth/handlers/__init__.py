"""The handlers that answer the operations of the contract, one class for each group of operations."""
