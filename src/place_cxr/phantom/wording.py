"""Sentences about the findings of one scene: present, uncertain, changed or resolved."""

from __future__ import annotations

from dataclasses import dataclass

from place_cxr.phantom.grammar import Die, Rule
from place_cxr.phantom.phrases import GRAMMAR, SHORT_NAMES
from place_cxr.phantom.scene import Finding, Scene

# In ascending order, for the change between two studies.
SEVERITIES = ("small", "mild", "moderate", "large", "severe")
ORDINALS: tuple[str, ...] = ("first", "second", "third", "fourth", "fifth", "sixth")
ORDINALS += ("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth")
PLURAL_SHORT_NAMES = frozenset(
    ("Pleural Effusion several", "Pneumothorax several", "Consolidation several")
)
DEVICE_FINDINGS = frozenset(("Pacemaker", "Central Line", "Endotracheal Tube", "Foreign Object"))
GROWTH_FACTOR = 1.15  # a nodule larger by this factor has grown
SINGULAR_VERBS = {"is": "is", "has": "has", "remains": "remains"}
PLURAL_VERBS = {"is": "are", "has": "have", "remains": "remain"}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A finding as a noun phrase with and without article, and its change since the prior study."""

    full: str
    bare: str
    change: str  # "new", "larger", "smaller", "same" or "" (no prior, or not comparable)


class Wording:
    """Words for one scene; each call draws from ``die``."""

    def __init__(self, scene: Scene, die: Die) -> None:
        self.scene, self.die = scene, die

    def _slots(self, finding: Finding, severity_chance: float) -> dict[str, str | Rule]:
        """Slots of the rules; ``severity_chance`` is the chance that the severity is named."""
        both = finding.side in ("bilateral", "")
        location = (finding.zone or "side") + (" both" if both else "")
        rules = GRAMMAR.rules
        graded = bool(finding.severity) and self.die.chance(severity_chance)
        by_name = f"{finding.severity} {finding.name}"
        slots: dict[str, str | Rule] = {
            "side": finding.side,
            "in": rules["in " + location],
            "of": rules["of " + location],
            "sev": rules[by_name if by_name in rules else finding.severity] if graded else "",
            "sev ly": rules.get(finding.severity + " ly", "") if graded else "",
            "layering": rules["layering"] if self.scene.view == "AP" else "",
            "lump": rules[finding.detail or "nodule"] if finding.name == "Nodule" else "",
            "ratio": f"{self.scene.cardiothoracic_ratio:.2f}",
        }

        if finding.size_mm is not None:
            in_mm = self.die.chance(0.6)
            size = f"{finding.size_mm:.0f} mm" if in_mm else f"{finding.size_mm / 10:.1f} cm"
            hedge = self.die.pick(("", "", "approximately ", "about ", "approx. "))
            slots["size"] = size
            slots["size plain"] = hedge + size
        if finding.name == "Rib Fracture":
            slots["rib"] = self._rib(finding.detail)
        if finding.name == "Foreign Object":
            kind = finding.detail
            slots["object"] = rules["object " + kind]
            over = "over side" if finding.side in ("left", "right") else "over chest"
            slots["object place"] = rules.get("over " + kind, rules[over])
        slots["tip"] = finding.detail

        return slots

    def _rib(self, detail: str) -> str:
        """``detail`` as it is (6th, 4th and 5th), or with the numbers in words."""
        if self.die.chance(0.5):
            return detail

        words = detail.split()
        return " ".join(word if word == "and" else ORDINALS[int(word[:-2]) - 1] for word in words)

    def _variant(self, rule: str, finding: Finding, last: str = "") -> str:
        """The name of the rule, in its form for several things or both sides if there is one."""
        several_details = finding.detail.endswith("clips") or " and " in finding.detail
        many = finding.side == "bilateral" or several_details
        several = f"{rule} several{last}"
        return several if many and several in GRAMMAR else rule + last

    def phrase(
        self, finding: Finding, severity_chance: float = 0.85, maybe: bool = False
    ) -> tuple[Phrase, dict[str, str | Rule]]:
        """The finding as a noun phrase, and the slots of a sentence around it."""
        die, name = self.die, finding.name
        slots = self._slots(finding, severity_chance)
        rule = self._variant(name, finding)
        if maybe and f"{name} maybe" in GRAMMAR:
            rule = f"{name} maybe"

        # The first letter of a noun phrase is its kind (see ``phrases``).
        text = GRAMMAR.say(rule, die, slots)
        kind, bare = text[0], text[2:]
        phrase = Phrase("a " + bare if kind == "a" else bare, bare, self._change(finding))
        slots |= {"e full": phrase.full, "e bare": bare}
        slots |= PLURAL_VERBS if kind == "p" else SINGULAR_VERBS

        plain = self._variant(name, finding, " plain")
        if plain in GRAMMAR:
            text = GRAMMAR.say(plain, die, slots)
            slots["plain"] = "a " + text[2:] if text[0] == "a" else text[2:]

        return phrase, slots

    def _change(self, finding: Finding) -> str:
        """The change of a finding since the prior study, as in ``Phrase.change``."""
        if self.scene.prior_findings is None or finding.name == "Foreign Object":
            return ""

        earlier = [prior for prior in self.scene.prior_findings if prior.name == finding.name]
        if not earlier:
            return "new"

        # Only one finding of the same name at the same location can be the same one.
        location = (finding.side, finding.zone)
        earlier = [prior for prior in earlier if (prior.side, prior.zone) == location]
        if len(earlier) != 1:
            return ""

        previous = earlier[0]
        if finding.size_mm and previous.size_mm:
            growth = finding.size_mm / previous.size_mm
            if growth > GROWTH_FACTOR:
                return "larger"
            return "smaller" if growth < 1 / GROWTH_FACTOR else "same"

        if finding.severity in SEVERITIES and previous.severity in SEVERITIES:
            step = SEVERITIES.index(finding.severity) - SEVERITIES.index(previous.severity)
            return "larger" if step > 0 else "smaller" if step < 0 else "same"

        return "same" if finding.detail == previous.detail else ""

    def _own_rule(self, finding: Finding) -> str:
        """The name of a rule with whole sentences for this finding, or an empty string."""
        name, grade = finding.name, finding.severity
        rules = [f"{name} own any {grade}", f"{name} own any"]
        if self._variant(name, finding) == name:
            rules += [f"{name} own {grade}", f"{name} own"]
        else:
            rules.append(f"{name} own several")

        available = [rule for rule in rules if rule in GRAMMAR]
        return self.die.pick(available) if available else ""

    def state(self, finding: Finding) -> list[str]:
        """A sentence that states the finding, and at times one about its change, or advice."""
        die = self.die
        phrase, slots = self.phrase(finding)
        own_rule = self._own_rule(finding)
        change = phrase.change if die.chance(0.75) else ""
        device = " device" if finding.name in DEVICE_FINDINGS else ""

        if own_rule and die.chance(0.2 if change else 0.7 if device else 0.45):
            return [GRAMMAR.say(own_rule, die, slots), *self._advice(finding)]
        if change in ("", "new"):
            text = GRAMMAR.say(f"state {change}".strip() + device, die, slots)
            return [text, *self._advice(finding)]

        # The change stands at the end of the sentence, or in a second one.
        text = GRAMMAR.say(("state again" if die.chance(0.5) else "state") + device, die, slots)
        if device:
            change = "same"
        if die.chance(0.5):
            return [text + GRAMMAR.say(change + device, die, slots)]

        return [text, self.follow_up(f"{change} after{device}", finding)]

    def _advice(self, finding: Finding) -> list[str]:
        """At times, that a tube in a bronchus should be pulled back."""
        if finding.detail == "in the right main bronchus" and self.die.chance(0.5):
            return [GRAMMAR.say("Endotracheal Tube withdraw", self.die, {})]

        return []

    def follow_up(self, rule: str, finding: Finding) -> str:
        """A sentence about a finding that has been named: its change, or that it has resolved."""
        slots = self._slots(finding, 0)
        several = f"{finding.name} several"
        name = several if finding.side == "bilateral" and several in SHORT_NAMES else finding.name

        slots["short"] = SHORT_NAMES.say(name, self.die, slots)
        slots |= PLURAL_VERBS if name in PLURAL_SHORT_NAMES else SINGULAR_VERBS

        return GRAMMAR.say(rule, self.die, slots)

    def summary(self, finding: Finding) -> str:
        """The finding as a line of the impression."""
        die = self.die
        phrase, slots = self.phrase(finding, 0.7)
        device = " device" if finding.name in DEVICE_FINDINGS else ""

        if phrase.change and die.chance(0.5):
            if phrase.change == "new":
                return GRAMMAR.say("state new" + device, die, slots)
            return phrase.bare + GRAMMAR.say(phrase.change + device, die, slots)

        own_rule = self._own_rule(finding) if device else ""
        return GRAMMAR.say(own_rule or ("state" if die.chance(0.25) else "brief"), die, slots)

    def nodules(self, findings: list[Finding]) -> str:
        """Two or more nodules in one line, with the size of the largest."""
        largest = max(findings, key=lambda finding: finding.size_mm or 0)
        slots = self._slots(largest, 0)
        slots["count"] = GRAMMAR.rules["count two" if len(findings) == 2 else "count more"]
        return GRAMMAR.say("Nodules many", self.die, slots)

    def pair(self, first: Finding, second: Finding) -> str:
        """One sentence that states two findings."""
        _, slots = self.phrase(first)
        second_phrase, _ = self.phrase(second)
        slots |= {"f full": second_phrase.full, "f bare": second_phrase.bare}

        # Lung beside an effusion of the same side.
        adjacent = first.side == second.side and second.name in ("Atelectasis", "Consolidation")
        adjacent = adjacent and second.zone == "lower" and first.name == "Pleural Effusion"
        return GRAMMAR.say("next to" if adjacent else "both of", self.die, slots)

    def doubt(self, finding: Finding) -> str:
        """A sentence that the finding may be present."""
        mild = finding.severity in ("small", "mild")
        _, slots = self.phrase(finding, 0.4 if mild else 0, maybe=True)

        # The sentences of its own kind fit what is small or mild.
        rule = self._variant(finding.name + " doubt", finding)
        fits = (mild or not finding.severity) and finding.detail != "mass"
        if not (rule in GRAMMAR and fits and self.die.chance(0.5)):
            rule = "doubt"

        return GRAMMAR.say(rule, self.die, slots)
