"""One file per kind of sink; each has `write(lines)` and `close()`."""
