"""Compare methods: each method, task, fraction and seed is one cell, filled once by a worker."""
