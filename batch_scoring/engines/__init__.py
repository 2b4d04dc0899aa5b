"""Where batches are computed. Every engine takes one picklable function ``RecordBatch -> RecordBatch``."""
