"""From done to landed: the merge queue, one entry after the other, each step on record before git does it."""
