"""Pieces of the grids: cached in bounded memory, under way, or to be sieved."""
