"""The repositories: one file per aggregate, its SQL inline, for both databases."""
