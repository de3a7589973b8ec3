"""The cases, one file for each group; the first line of a file is the heading of its table."""
