"""Jobs: how they run, end, are planned, found and forgotten."""
