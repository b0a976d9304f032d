"""Jobs: what was asked for, how it is planned and collected, and the table of them all."""
