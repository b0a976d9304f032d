"""Pieces of the number line: kept, shared while they are under way, and sieved again."""
