"""One server of a store leads, and does the chores."""
