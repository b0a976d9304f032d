"""The rows of the table: what is done, against what, and what is promised."""
