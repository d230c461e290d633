"""Tasks: what they are made of, how they move, what they depend on."""
