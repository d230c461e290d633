"""Task lists of other programs and of people, read into drafts: pure, with the line of whatever is wrong."""
