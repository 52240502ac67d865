"""Training, evaluation and benchmarks. Nothing in retsynth/ imports from here."""
