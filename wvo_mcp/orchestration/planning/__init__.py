"""A goal becomes a plan that is checked, accepted by a person, and worked off."""
