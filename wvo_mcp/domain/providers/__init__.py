"""Which models there are, which of them should do what, what they may take, and how they fail."""
