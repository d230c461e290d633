"""The HTTP face comes here: a loop over the registry like the other two."""
