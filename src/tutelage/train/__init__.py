"""The training room: the one loop, and the run folder that survives being killed."""
