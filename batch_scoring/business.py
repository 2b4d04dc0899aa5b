"""A metric of the user's own: what a prediction and its outcome were worth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch_scoring.errors import DeclarationError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Worth = Callable[[Any, Any, Mapping[str, Any]], Any]
"""``of(predictions, outcomes, columns) -> values``, NumPy arrays of one length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessMetric:
    """The mean over the hold-out of what each prediction turned out to be worth, or to cost.

    Attributes:
        name: how gates, manifests and reports call it.
        of: a plain function of the predictions (as the task's forecasts), the outcomes (0 or 1, the place of the class,
            or the number) and the named columns; it returns a number for every row.
        columns: keys or features that it needs, e.g. what a seat costs.
    """

    name: str
    of: Worth = field(repr=False, compare=False)
    columns: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", self.name):
            raise DeclarationError(
                "BusinessMetric.name",
                expected="lower-case letters, digits and underscores",
                found=repr(self.name),
                fix="Name it like 'cost_per_flight'.",
            )

    def __call__(self, predictions: Any, outcomes: Any, columns: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Its values, ``(n,)``.

        Raises:
            DeclarationError: it fails, or does not return a finite number for every row.
        """
        import numpy as np

        try:
            values = np.asarray(self.of(predictions, outcomes, columns), dtype=np.float64)
        except Exception as error:  # noqa: BLE001  # whatever a user's function can raise
            found = f"{type(error).__name__}: {error}"
        else:
            if values.shape == (len(outcomes),) and np.isfinite(values).all():
                return values
            found = f"shape {values.shape}" if values.shape != (len(outcomes),) else "a null or an infinity"
        raise DeclarationError(
            f"business metric '{self.name}'",
            expected=f"a finite number for each of {len(outcomes):,} rows",
            found=found,
            fix="Correct the function in table.py.",
        )
