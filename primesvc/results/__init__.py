"""The result of a job as a virtual file: its layout, and readers that make its bytes."""
