"""Cases that a person decides: the durable queue, its tickets, the spool that stands in for it, and the labels."""
