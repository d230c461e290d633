"""What is remembered: one SQLite file, one file per aggregate with its SQL inline."""
