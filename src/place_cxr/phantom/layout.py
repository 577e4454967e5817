"""The layout of a report: headers, sections, numbered or running text.

Departments and readers differ in them, and so do synthetic reports.
"""

from __future__ import annotations

from place_cxr.phantom.grammar import Die, Rule, tidy_sentence
from place_cxr.phantom.phrases import GRAMMAR
from place_cxr.phantom.scene import Scene

PREAMBLE_FRACTION = 0.7  # of reports, with any section before the findings
BARE_FRACTION = 0.03  # of reports, without headers: findings, then impression


def lay_out_report(scene: Scene, die: Die, findings: list[str], impression: list[str]) -> str:
    """The text of a report with these sentences; an empty list leaves its section out."""
    style = die.pick((str.upper, str.upper, str.upper, str.title))
    gap = die.pick(("\n", "\n", " ", "\n\n"))

    if findings and impression and die.chance(BARE_FRACTION):
        return " ".join(findings) + gap + " ".join(impression)

    lines = [f"{style(name)}: {text}" for name, text in _preamble(scene, die)]
    if findings:
        lines.append(f"{style('findings')}:{die.pick((' ', ' ', gap))}{' '.join(findings)}")

    if impression:
        between = " "
        if len(impression) > 1 and die.chance(0.5):
            impression = [f"{number}. {sentence}" for number, sentence in enumerate(impression, 1)]
            between = die.pick(("\n", " "))
        lines.append(f"{style('impression')}:{die.pick((' ', ' ', gap))}{between.join(impression)}")

    return die.pick(("\n", "\n", "\n\n", " ")).join(lines)


def _preamble(scene: Scene, die: Die) -> list[tuple[str, str]]:
    """Some of the sections before the findings, as (header, text). None names a finding."""
    if not die.chance(PREAMBLE_FRACTION):
        return []

    slots: dict[str, str | Rule] = {
        "view": scene.view,
        "view words": GRAMMAR.rules["view " + scene.view],
        "age": str(scene.age),
        "sex": scene.sex,
        "person": GRAMMAR.rules["who " + scene.sex],
    }
    # Header -> rule; each section is there or not by chance.
    rules = {
        die.pick(("exam", "examination")): "exam",
        die.pick(("indication", "history")): "indication",
        "technique": f"technique {scene.view}",
        "comparison": "no comparison" if scene.prior_findings is None else "comparison",
    }

    return [
        (name, tidy_sentence(GRAMMAR.say(rule, die, slots)))
        for name, rule in rules.items()
        if die.chance(0.5)
    ]
