"""Providers of models as this workspace and this machine have them: the file, what runs here, who is logged in."""
