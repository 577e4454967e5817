"""The report of a phantom scene, and the record of what it states.

A report differs from the scene as those of radiologists do. The less conspicuous a present finding
is, the more often it is missed (``MISSED_CHANCE``; the fraction ``DENIED_FRACTION`` of the missed
ones is denied) or worded as uncertain (``HEDGED_CHANCE``). An absent finding is denied, not
mentioned, or very rarely suspected (``FALSE_DOUBT_CHANCE``). Side, zone, severity, size, tip and
change over time in a report are always those of the scene. All chances are [ours].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from place_cxr.core.records import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from place_cxr.phantom.grammar import Die, tidy_sentence
from place_cxr.phantom.layout import lay_out_report
from place_cxr.phantom.phrases import GRAMMAR
from place_cxr.phantom.scene import PHANTOM_FINDINGS, Finding, Scene
from place_cxr.phantom.wording import Wording

# Chance that a present finding is not reported: for conspicuity 1 and 0, linear between.
MISSED_CHANCE = (0.01, 0.22)
# Chance that a reported finding is worded as uncertain: for conspicuity 1 and 0.
HEDGED_CHANCE = (0.02, 0.60)
OBVIOUS_HEDGE_FACTOR = 0.35  # multiplies that chance for a large or severe finding
DENIED_FRACTION = 0.10  # of the missed findings, denied by the report
FALSE_DOUBT_CHANCE = 0.012  # that an absent finding of DOUBTABLE is suspected
# Fractions of reports with only one of the two sections.
IMPRESSION_ONLY_FRACTION, FINDINGS_ONLY_FRACTION = 0.05, 0.18
SUMMARY_CHANCE = 0.35  # of one denial for all ("the lungs are clear") where it is true

# Chance that an absent finding is denied by name.
DENIAL_CHANCE = {
    "Pleural Effusion": 0.80,
    "Pneumothorax": 0.80,
    "Consolidation": 0.72,
    "Atelectasis": 0.10,
    "Edema": 0.42,
    "Cardiomegaly": 0.66,
    "Nodule": 0.16,
    "Emphysema": 0.07,
    "Rib Fracture": 0.36,
    "Pacemaker": 0.02,
    "Central Line": 0.04,
    "Endotracheal Tube": 0.03,
    "Foreign Object": 0.06,
}
# Chance that a denial is a sentence of its own kind ("costophrenic angles are sharp")
OWN_DENIAL_CHANCE = {
    "Pleural Effusion": 0.12,
    "Pneumothorax": 0.07,
    "Consolidation": 0.1,
    "Edema": 0.35,
    "Cardiomegaly": 0.9,
    "Nodule": 0.4,
    "Emphysema": 0.6,
    "Rib Fracture": 0.8,
}
PLEURAL = frozenset(("Pleural Effusion", "Pneumothorax"))
PARENCHYMAL = frozenset(("Consolidation", "Atelectasis", "Edema", "Nodule"))
ACUTE_FINDINGS = frozenset(("Pleural Effusion", "Pneumothorax", "Consolidation", "Edema"))
SUPPORT_DEVICES = frozenset(("Pacemaker", "Central Line", "Endotracheal Tube"))
DEVICES_AND_OBJECTS = frozenset((*SUPPORT_DEVICES, "Foreign Object"))
DOUBTABLE = (
    "Pleural Effusion",
    "Pneumothorax",
    "Consolidation",
    "Atelectasis",
    "Edema",
    "Cardiomegaly",
    "Nodule",
)
NEIGHBORS = frozenset(("Pleural Effusion", "Pneumothorax", "Consolidation", "Atelectasis"))
NORMAL_CHEST = frozenset(PHANTOM_FINDINGS) - DEVICES_AND_OBJECTS
# The regions of the image, in the order in which they are read.
READING_ORDER = (
    DEVICES_AND_OBJECTS,
    PARENCHYMAL | {"Emphysema"},
    PLEURAL,
    {"Cardiomegaly"},
    {"Rib Fracture"},
)
REGION_OF_FINDING: dict[str, int] = {}
for _region, _names in enumerate(READING_ORDER):
    REGION_OF_FINDING |= dict.fromkeys(_names, _region)
TECHNIQUE_REGION = -1  # comes before all regions
_SentenceBlock = tuple[int, list[str]]  # region, sentences that stay together


@dataclass(frozen=True, slots=True)
class PhantomReport:
    """``said`` maps each of PHANTOM_FINDINGS to its value in ``text``.

    Values are PRESENT, ABSENT, UNCERTAIN and NOT_MENTIONED (NaN).
    """

    text: str
    said: dict[str, float]


def write_phantom_report(scene: Scene, rng: np.random.Generator) -> PhantomReport:
    """One report of one scene. Draws once from ``rng``: the same state gives the same report."""
    author = _Author(scene, Die(rng))
    return PhantomReport(author.write(), author.said)


def _join_ribs(findings: list[Finding]) -> list[Finding]:
    """Fractures of one side as one finding; other findings as they are."""
    if findings[0].name != "Rib Fracture":
        return findings

    joined = []
    for side in ("left", "right"):
        ribs = sorted({finding.detail for finding in findings if finding.side == side})
        if ribs:
            joined.append(replace(findings[0], side=side, detail=" and ".join(ribs)))

    return joined


class _Author:
    """Decides what the report states, then writes it; ``said`` follows both."""

    def __init__(self, scene: Scene, die: Die) -> None:
        self.scene, self.die, self.words = scene, die, Wording(scene, die)
        self.said = dict.fromkeys(PHANTOM_FINDINGS, NOT_MENTIONED)
        self.positive: list[Finding] = []
        self.doubted: list[Finding] = []
        self.denied: set[str] = set()
        self.deniable: set[str] = set()
        self._decide()

    def write(self) -> str:
        """The text; afterwards ``said`` holds what it states."""
        findings = self._findings()
        habit = self.die.draw()
        if habit < IMPRESSION_ONLY_FRACTION and len(findings) < 7:
            return lay_out_report(self.scene, self.die, [], findings)

        impression = self._impression() if habit < 1 - FINDINGS_ONLY_FRACTION else []
        return lay_out_report(self.scene, self.die, findings, impression)

    # What is stated -------------------------------------------------------------------------------

    def _decide(self) -> None:
        die = self.die
        present: dict[str, list[Finding]] = {}
        for finding in self.scene.findings:
            present.setdefault(finding.name, []).append(finding)

        for name in PHANTOM_FINDINGS:
            if name in present:
                faint = 1 - max(finding.conspicuity for finding in present[name])
                if die.chance(MISSED_CHANCE[0] + (MISSED_CHANCE[1] - MISSED_CHANCE[0]) * faint):
                    if die.chance(DENIED_FRACTION):
                        self.denied.add(name)
                elif name not in SUPPORT_DEVICES and die.chance(
                    self._hedge_chance(faint, present[name])
                ):
                    self.doubted += present[name][:1]
                    self.said[name] = UNCERTAIN
                else:
                    self.positive += _join_ribs(present[name])
                    self.said[name] = PRESENT
            elif name in DOUBTABLE and die.chance(FALSE_DOUBT_CHANCE):
                self.doubted.append(self._false_doubt(name))
                self.said[name] = UNCERTAIN
            else:
                self.deniable.add(name)
                if die.chance(DENIAL_CHANCE[name]):
                    self.denied.add(name)

        self.deniable |= self.denied

    @staticmethod
    def _hedge_chance(faint: float, findings: list[Finding]) -> float:
        """Chance that a finding is worded as uncertain; ``faint`` is 1 - its conspicuity."""
        chance: float = HEDGED_CHANCE[0] + (HEDGED_CHANCE[1] - HEDGED_CHANCE[0]) * faint**1.5
        return chance * (OBVIOUS_HEDGE_FACTOR if findings[0].severity in ("large", "severe") else 1)

    def _false_doubt(self, name: str) -> Finding:
        """A small finding that the scene does not have, for the report to suspect."""
        pleural = name in PLEURAL
        if pleural:
            zone = "upper" if name == "Pneumothorax" else "lower"
        else:
            zone = self.die.pick(("upper", "mid", "lower"))
        size = 4 + round(6 * self.die.draw()) if name == "Nodule" else None
        side = self.die.pick(("left", "right"))

        return Finding(name, side, zone, "small" if pleural else "mild", size)

    def _mark_denied(self, names: frozenset[str] | set[str]) -> None:
        for name in names:
            self.said[name] = ABSENT
        self.denied -= names

    # Findings -------------------------------------------------------------------------------------

    def _findings(self) -> list[str]:
        """The observation sentences, in the order of one of three habits.

        From the devices downwards, from the bones upwards, or in any order; technique comes first.
        """
        die = self.die
        blocks = self._positives() + self._resolved() + self._denials()
        blocks += self._normal_remarks(len(blocks))

        habit = die.draw()
        blocks = die.shuffled(blocks)
        if habit < 0.45:
            blocks.sort(key=lambda block: block[0])
        elif habit < 0.6:
            blocks.sort(key=lambda block: -block[0])
        blocks.sort(key=lambda block: block[0] != TECHNIQUE_REGION)

        texts: list[str] = []
        for _, sentences in blocks:
            texts += map(tidy_sentence, sentences)

        return texts

    def _positives(self) -> list[_SentenceBlock]:
        """Sentences about present and uncertain findings."""
        die, words = self.die, self.words
        remaining = die.shuffled(self.positive)
        blocks = []

        # Two findings in one sentence.
        anatomical = [finding for finding in remaining if finding.name not in DEVICES_AND_OBJECTS]
        if len(anatomical) > 1 and die.chance(0.35):
            first, second = anatomical[:2]
            if second.name == "Pleural Effusion":
                first, second = second, first
            blocks.append((REGION_OF_FINDING[first.name], [words.pair(first, second)]))
            remaining = [
                finding for finding in remaining if finding is not first and finding is not second
            ]

        for finding in remaining:
            sentences = words.state(finding)
            # A denial at the end of a plain sentence: "... without pneumothorax".
            denied_acute = sorted(self.denied & ACUTE_FINDINGS)
            plain = len(sentences) == 1 and " with" not in sentences[0] and "," not in sentences[0]
            if denied_acute and plain and finding.name in NEIGHBORS and die.chance(0.15):
                self._mark_denied({denied_acute[0]})
                sentences[0] += " without " + GRAMMAR.say(denied_acute[0] + " name", die, {})
            blocks.append((REGION_OF_FINDING[finding.name], sentences))

        for finding in self.doubted:
            blocks.append((REGION_OF_FINDING[finding.name], [words.doubt(finding)]))

        return blocks

    def _resolved(self) -> list[_SentenceBlock]:
        """Sentences about findings of the prior study that are absent now."""
        blocks = []
        prior_findings = self.scene.prior_findings or ()

        for name in PHANTOM_FINDINGS:
            if name not in self.deniable:
                continue
            previous = [finding for finding in prior_findings if finding.name == name]
            if len(previous) == 1 and name != "Foreign Object" and self.die.chance(0.6):
                self._mark_denied({name})
                rule = "removed" if name in SUPPORT_DEVICES else "gone"
                blocks.append((REGION_OF_FINDING[name], [self.words.follow_up(rule, previous[0])]))

        return blocks

    def _denials(self) -> list[_SentenceBlock]:
        """Sentences that deny findings: several at once where that is true, then the others."""
        die = self.die
        blocks: list[_SentenceBlock] = []

        if self.deniable >= PARENCHYMAL and die.chance(SUMMARY_CHANCE):
            self._mark_denied(PARENCHYMAL)
            rule = "clear"
            if self.said["Emphysema"] == PRESENT:
                rule = "clear hyperinflated"
            elif any(self.said[name] == PRESENT for name in PLEURAL):
                rule = "clear otherwise"
            blocks.append((1, [GRAMMAR.say(rule, die, {})]))
        else:
            blocks += self._other_lung()

        if self.deniable >= SUPPORT_DEVICES and die.chance(0.12):
            self._mark_denied(SUPPORT_DEVICES)
            blocks.append((0, [GRAMMAR.say("no devices", die, {})]))
        if self.deniable >= PLEURAL and die.chance(0.07):
            self._mark_denied(PLEURAL)
            blocks.append((2, [GRAMMAR.say("pleura normal", die, {})]))

        # One by one, in sentences of their own kind or in lists.
        names = []
        for name in die.shuffled(sorted(self.denied)):
            if die.chance(OWN_DENIAL_CHANCE.get(name, 0)):
                blocks.append((REGION_OF_FINDING[name], [GRAMMAR.say(name + " absent", die, {})]))
            else:
                names.append(name)
        self._mark_denied(set(self.denied))

        while names:
            count = 1 + int(die.draw() * min(4, len(names)))
            blocks.append((REGION_OF_FINDING[names[0]], [self._deny_list(names[:count])]))
            names = names[count:]

        return blocks

    def _deny_list(self, names: Sequence[str]) -> str:
        """One sentence that denies all ``names``."""
        die = self.die
        phrases = [GRAMMAR.say(name + " name", die, {}) for name in names]
        last = " or " if len(phrases) < 3 else die.pick((", or ", " or "))
        text = ", ".join(phrases[:-1]) + last + phrases[-1] if len(phrases) > 1 else phrases[0]

        rule = "deny after" if self.positive and die.chance(0.1) else "deny"
        return GRAMMAR.say(rule, die, {"names": text})

    def _other_lung(self) -> list[_SentenceBlock]:
        """At times, that one lung is normal, where all findings are in the other one."""
        lung_findings = PARENCHYMAL | PLEURAL
        sides = {item.side for item in self.scene.findings if item.name in lung_findings}
        other_side = {"left": "right", "right": "left"}.get("".join(sides))
        lungs_wide = self.doubted or self.scene.labels["Emphysema"]
        if other_side is None or lungs_wide or not self.die.chance(0.25):
            return []

        return [(1, [GRAMMAR.say("other lung", self.die, {"other": other_side})])]

    def _normal_remarks(self, blocks: int) -> list[_SentenceBlock]:
        """Sentences about normal anatomy and technique; the fewer ``blocks``, the more of them."""
        die = self.die
        rules = [("mediastinum", 3), ("mediastinum", 3), ("abdomen", 5)]
        if die.chance(0.35):
            rules.append((f"quality {self.scene.view}", TECHNIQUE_REGION))
        labels = self.scene.labels
        normal_volume = not labels["Emphysema"] and not labels["Atelectasis"]
        if normal_volume and self.said["Emphysema"] != ABSENT:
            rules.append(("volume", 1))
        if self.scene.prior_findings is not None:
            rules.append(("compared with", TECHNIQUE_REGION))
            if self.scene.prior_findings == self.scene.findings:
                rules.append(("no change", 6))

        count = max(5 - blocks, min(7 - blocks, int(die.draw() * 4)))
        chosen = die.shuffled(rules)[:count]
        return [(region, [GRAMMAR.say(rule, die, {})]) for rule, region in chosen]

    # Impression -----------------------------------------------------------------------------------

    def _impression(self) -> list[str]:
        """The lines of the impression: findings, doubts, a summary of what is absent, advice."""
        die, words = self.die, self.words
        lines = []

        nodules = [finding for finding in self.positive if finding.name == "Nodule"]
        remaining = self.positive
        if len(nodules) > 1 and die.chance(0.7):
            lines.append(words.nodules(nodules))
            remaining = [finding for finding in remaining if finding.name != "Nodule"]

        for finding in die.shuffled(remaining):
            if finding.name not in SUPPORT_DEVICES or die.chance(0.25):
                lines.append(words.summary(finding))
        lines += [words.doubt(finding) for finding in self.doubted if die.chance(0.8)]

        healthy = not self.scene.findings and not self.doubted
        if self._may_deny(ACUTE_FINDINGS) and (not lines or die.chance(0.25)):
            normal = healthy and die.chance(0.2)
            lines.append(GRAMMAR.say("normal chest" if normal else "no acute", die, {}))
            self._mark_denied(NORMAL_CHEST if normal else ACUTE_FINDINGS)
        elif lines and die.chance(0.3):
            absent = [name for name in sorted(ACUTE_FINDINGS) if self.said[name] == ABSENT]
            if absent:
                lines.append(self._deny_list(die.shuffled(absent)[:2]))

        if lines and die.chance(0.18):
            rule = "notify" if self.positive or self.doubted else "closing"
            lines.append(GRAMMAR.say(rule, die, {}))

        return [tidy_sentence(line) for line in lines]

    def _may_deny(self, names: frozenset[str]) -> bool:
        return all(name in self.deniable or self.said[name] == ABSENT for name in names)
