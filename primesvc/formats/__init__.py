"""How primes are written: formats as data, and the encoder that workers run."""
