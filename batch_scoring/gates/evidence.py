"""What the gates look at, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What a gate saw. ``message`` is a sentence for a person; ``observed`` is None when it could not be computed."""

    gate: str
    passed: bool
    observed: float | None
    limit: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the gates look at.

    Attributes:
        population: entities to score. rows: rows scored. matched: distinct keys found in both.
        duplicates: rows beyond the first of their key. invalid_scores: null, not finite, or outside [0, 1].
        contributions_error: largest |Σ contributions + base − margin|, log-odds.
        loss: mean log-loss (nats) of the contender on the hold-out; baseline_loss, live_loss: of the others there.
        live_loss, score_psi: None when nothing is live or it cannot be compared. live_note: how it was compared.
    """

    population: int
    rows: int
    matched: int
    duplicates: int
    invalid_scores: int
    contributions_error: float
    loss: float
    baseline_loss: float
    live_loss: float | None
    score_psi: float | None
    live_note: str = ""
