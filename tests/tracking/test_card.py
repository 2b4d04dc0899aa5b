"""A model card says what the manifest holds, to people, in two forms."""

from dataclasses import replace
from html.parser import HTMLParser

from support.drafts import FAILED, PASSED, draft_version

from batch_scoring.declare import Number
from batch_scoring.domain import HoldOutScore, Manifest, Provenance, VersionId
from batch_scoring.gates import GateResult
from batch_scoring.measured import Measured
from explain.card import Section, model_card, to_html, to_markdown


def manifest(*gates: GateResult, **changes: object) -> Manifest:
    draft = replace(draft_version(gates=gates or (PASSED,)), **changes)
    return Manifest(version=VersionId(7), draft=draft, files=())


def text(made: Manifest) -> str:
    return to_markdown(model_card(made, (("delay_7d", 0.31), ("season", 0.02))))


def test_a_card_names_data_model_gates_features_and_limits() -> None:
    shown = text(manifest())
    for said in (
        "# flight_delays, version 7",
        "It passed its gates.",
        "| examples | 1,234, 2013-01-22 to 2013-02-20 |",
        "window 30 days",
        "| beats_baseline | pass | 0.02 | 0 | a gain of 0.02. |",
        "| delay_7d | 0.3100 | mean delay of the leg over 7 days, minutes |",
        "## Known limits",
    ):
        assert said in shown


def test_a_card_shows_metrics_with_their_intervals() -> None:
    measured = (Measured(name="auc", value=0.66, low=0.64, high=0.68), Measured(name="ece", value=None))
    training = replace(
        draft_version().training, holdout=(HoldOutScore(who="contender", rows=200, loss=0.5, auc=0.66, metrics=measured),)
    )
    shown = text(manifest(training=training))
    assert "| contender | auc | 0.66 | 0.64 to 0.68 | 200 |" in shown
    assert "| contender | ece | – |  | 200 |" in shown


def test_a_refused_version_and_a_waived_gate_are_not_hidden() -> None:
    assert "It was refused: beats_baseline." in text(manifest(FAILED))
    waived = text(manifest(replace(FAILED, waived="known storm")))
    assert "It passed its gates." in waived
    assert "beats_baseline failed and was waived: known storm." in waived


def test_code_that_was_changed_and_a_quantile_are_said() -> None:
    how = Provenance(trigger="manual", started_at=None, seconds=None, commit="abc" * 12, dirty=True, definitions="d" * 64)
    shown = text(manifest(provenance=how, task=Number(quantile=0.9), threshold=None))
    assert "abcabcabcabc, changed since" in shown
    assert "0.9 quantile" in shown


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_shows_text_as_text() -> None:
    page = to_html((Section(title="<script>", sentences=("a & b",), table=(("head",), ("<b>",))),))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "b"} & tags.seen
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
