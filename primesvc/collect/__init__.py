"""A range cut into pieces, and what is known of each: plans, summaries, and how they are got."""
