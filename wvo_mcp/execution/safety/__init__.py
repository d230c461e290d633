"""The safety policy: its file, the reader of shell text, paths, and the judge that joins them."""
