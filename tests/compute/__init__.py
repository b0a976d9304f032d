"""The compute side: the pool, the dispatcher, shared memory."""
