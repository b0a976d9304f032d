"""Plans, what is collected of them, and how it is written."""
