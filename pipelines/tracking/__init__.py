"""Every version in MLflow: a run with its numbers and files, a registered model per table, aliases that follow what is served.

The store is the truth and MLflow a copy of it, made afterwards by whoever has time: :func:`pipelines.tracking.catch_up.catch_up`
reads the store, compares, and writes what is missing. Nothing that publishes waits for it.
"""
