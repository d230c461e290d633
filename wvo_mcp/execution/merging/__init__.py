"""From a pinned commit to a landed one: what the merge queue does with git."""
