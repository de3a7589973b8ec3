"""Many rows through a guarded function: how a batch is asked for, run, shown under way and kept."""
