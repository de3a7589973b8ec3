"""One file for each concern: its options, its state, its two hooks. Nothing here waits, runs or knows a driver."""
