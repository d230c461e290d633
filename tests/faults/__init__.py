"""The server under faults: killed at every write, cut off, frozen, short of disk, wrongly set up."""
