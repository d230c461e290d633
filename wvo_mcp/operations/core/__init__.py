"""The toolset `core`: what an agent needs to pull work, and no more."""
