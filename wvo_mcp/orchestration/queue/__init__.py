"""What comes next and who gets it."""
