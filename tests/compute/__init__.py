"""The compute side: backends, the dispatcher, shared memory."""
