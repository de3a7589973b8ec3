"""The changes, in order. Each only adds, so that the release before goes on working."""
