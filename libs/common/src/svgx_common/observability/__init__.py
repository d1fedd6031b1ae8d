"""Log processors, metrics and trace encoding for all services, and the return of unused memory."""
