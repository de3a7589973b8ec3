"""What people's tools see of the calls: counts, metrics, spans and lines, all made on the ledger's thread."""
