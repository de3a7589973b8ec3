"""The ledger: one record per decision, appended by one thread to this process's own lane of JSON lines, and read back."""
