"""The store of several machines: one PostgreSQL database."""
