"""Sends records on to where the settings say, after they are written."""
