"""The toolset `providers`: which model does what, what it may use, and its state."""
