"""The asset chain of one table. Each body calls a step and describes what came of it.

delivery → feature_definitions → training_set → window_search → contender → scores → explanations → version → published
"""

import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import dagster as dg

from batch_scoring.errors import DataRejected, ForetableError
from batch_scoring.gates import gate_names
from pipelines.defs import describe
from pipelines.defs.data_checks import data_check_results, data_check_specs
from pipelines.defs.workspace import Workspace
from pipelines.repository import Product

P = ParamSpec("P")
R = TypeVar("R")


def one_sentence(body: Callable[P, R]) -> Callable[P, R]:
    """Let an asset fail with the sentence of our error and not with a traceback; trying again would not mend it."""

    @functools.wraps(body)
    def asset(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except ForetableError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    return asset


def table_assets(product: Product, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The chain, in the table's own group, partitioned by as-of day where a step depends on it."""
    return [*_data_assets(product, partitions), *_model_assets(product, partitions), *_version_assets(product, partitions)]


def _data_assets(product: Product, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    name = product.table.name
    checks = data_check_specs(name)

    @dg.asset(key=[name, "delivery"], group_name=name, kinds={"parquet", "pandera"}, check_specs=checks)
    def delivery(workspace: Workspace) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Raw files, checked and turned into Parquet; a bad delivery is refused whole and the last good one stays."""
        from pipelines.ingest import ingest

        settings = workspace.settings()
        try:
            found = ingest(product, settings)
        except DataRejected as error:
            yield from data_check_results(name, settings, None, rejected=error)
            raise dg.Failure(str(error), allow_retries=False) from None
        except ForetableError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        yield dg.MaterializeResult(metadata=describe.delivery(found))
        yield from data_check_results(name, settings, found.id)

    @dg.asset(key=[name, "feature_definitions"], group_name=name, kinds={"feast"}, deps=[delivery])
    @one_sentence
    def feature_definitions(workspace: Workspace) -> dg.MaterializeResult:
        """The feature repository, applied to Feast's registry."""
        source = workspace.features(product)
        source.apply()
        return dg.MaterializeResult(metadata=describe.features(source.columns()))

    @dg.asset(
        key=[name, "training_set"],
        group_name=name,
        kinds={"feast", "duckdb"},
        partitions_def=partitions,
        deps=[feature_definitions],
    )
    @one_sentence
    def training_set(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """Labelled examples with their features as of their own moment."""
        from pipelines.steps import build_training_set

        return dg.MaterializeResult(
            metadata=describe.examples(build_training_set(workspace.run(product, context), workspace.features(product)))
        )

    return [delivery, feature_definitions, training_set]


def _model_assets(product: Product, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    name = product.table.name

    @dg.asset(
        key=[name, "window_search"], group_name=name, kinds={"xgboost"}, partitions_def=partitions, deps=[[name, "training_set"]]
    )
    @one_sentence
    def window_search(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """Every candidate training window on the same out-of-time blocks."""
        from pipelines.steps import search

        found = search(workspace.run(product, context), context.log.info)
        return dg.MaterializeResult(metadata=describe.windows(found, product.table.task))

    @dg.asset(key=[name, "contender"], group_name=name, kinds={"xgboost"}, partitions_def=partitions, deps=[window_search])
    @one_sentence
    def contender(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """The chosen window's model beside baseline and live on the hold-out, then refitted on everything known."""
        from pipelines.steps import train

        trained = train(workspace.run(product, context), context.log.info)
        return dg.MaterializeResult(metadata=describe.training(trained.training, product.table.task))

    @dg.asset(key=[name, "scores"], group_name=name, kinds={"xgboost", "feast"}, partitions_def=partitions, deps=[contender])
    @one_sentence
    def scores(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """A score for every entity of the population, with the features it was made from."""
        from pipelines.steps import score

        return dg.MaterializeResult(metadata={"rows": score(workspace.run(product, context), workspace.features(product))})

    @dg.asset(key=[name, "explanations"], group_name=name, kinds={"shap"}, partitions_def=partitions, deps=[scores])
    @one_sentence
    def explanations(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """Exact contributions and reasons in words for every entity."""
        from pipelines.steps import explain

        run = workspace.run(product, context)
        return dg.MaterializeResult(metadata={"rows": explain(run), **describe.importance(run)})

    return [window_search, contender, scores, explanations]


def _version_assets(product: Product, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    name = product.table.name
    gates = [dg.AssetCheckSpec(gate, asset=[name, "version"], blocking=True) for gate in gate_names(product.table.gates)]

    @dg.asset(
        key=[name, "version"],
        group_name=name,
        kinds={"parquet", "lmdb"},
        partitions_def=partitions,
        deps=[[name, "explanations"]],
        check_specs=gates,
    )
    @one_sentence
    def version(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """An immutable version, stored with its gate report whether it passed or not; a failed gate stops the publish."""
        from pipelines.steps import judge_and_build

        manifest = judge_and_build(workspace.run(product, context), built_at=workspace.now())
        return dg.MaterializeResult(metadata=describe.version(manifest), check_results=describe.gates(manifest))

    @dg.asset(key=[name, "published"], group_name=name, kinds={"duckdb"}, partitions_def=partitions, deps=[version])
    @one_sentence
    def published(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
        """The flip: readers see this version, whole, from one moment to the next."""
        from pipelines.steps import publish_version, version_of

        run = workspace.run(product, context)
        release = publish_version(run, version_of(run), when=workspace.now())
        return dg.MaterializeResult(metadata=describe.release(release, run))

    return [version, published]
