"""The only code that runs and waits: one driver for each kind of function, and the ways of bounding a call in time."""
