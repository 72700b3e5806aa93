"""Data that the package makes itself: every file that does not start with `_` is one source."""
