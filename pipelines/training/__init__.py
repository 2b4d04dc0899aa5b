"""Training with a searched window, judged out of time."""
