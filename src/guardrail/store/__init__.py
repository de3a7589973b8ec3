"""The embedded store: one SQLite file under the home folder for the review queue and the labels."""
