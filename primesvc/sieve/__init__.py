"""The number line: ranges, grids, engines, the packed form. Knows nothing of the rest."""
