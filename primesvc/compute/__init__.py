"""The compute side: executors, the fair dispatcher, and the code that runs in workers."""
