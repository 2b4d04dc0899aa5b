"""A job that rolls a table back, for people who live in the Dagster UI."""

import dagster as dg
from pydantic import Field

from pipelines.defs.assets import one_sentence
from pipelines.defs.workspace import Workspace
from pipelines.repository import Product


class RollbackRequest(dg.Config):
    """What to roll back to, and why."""

    reason: str = Field(description="Why; recorded with the release.", min_length=1)
    to: int | None = Field(default=None, description="A kept version; left out, the last good one before the live one.")


def rollback_job(product: Product) -> dg.JobDefinition:
    """The job ``<table>_rollback``: one op that flips the table back and records who and why."""
    name = product.table.name

    @dg.op(name=f"roll_back_{name}", description=f"Make an earlier version of {name} live again.")
    @one_sentence
    def roll_back(context: dg.OpExecutionContext, config: RollbackRequest, workspace: Workspace) -> None:
        from batch_scoring.domain import VersionId
        from batch_scoring.store import Store, rollback
        from pipelines.tracking.catch_up import follow

        settings = workspace.settings()
        target = None if config.to is None else VersionId(config.to)
        store = Store(root=settings.store)
        release = rollback(store, name, to=target, who=settings.actor(), when=workspace.now(), why=config.reason)
        follow(settings)
        context.log.info(f"Release {release.id}: '{name}' serves version {release.tables[name].live}.")

    @dg.job(name=f"{name}_rollback", description=f"Roll {name} back to an earlier version; it holds until somebody lifts it.")
    def job() -> None:
        roll_back()

    return job
