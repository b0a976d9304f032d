"""The number line: ranges, grids, engines, the packed form, and what all of it costs."""
