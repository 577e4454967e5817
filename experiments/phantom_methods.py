"""What the first-results table compares: every method is the recipe ``phantom-tiny`` with these values changed."""

from __future__ import annotations

from dataclasses import dataclass

RECIPE = "phantom-tiny"
NO_PCMA = tuple(f"losses.pathology_{part}.weight=0" for part in ("pair", "image", "sentence"))
NO_CCE = ("losses.correlation.weight=0", "model.correlation=null")


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table. ``score`` and ``heat`` are fixed in advance: what a method trains is what it is read by."""

    title: str
    overrides: tuple[str, ...] = ()
    trained: bool = True
    score: str = "mix"  # of zero-shot and retrieval: instance, observation or mix
    heat: str = "observation"  # of grounding: instance or observation


def _option(name: str, value: str) -> tuple[str, ...]:
    return tuple(f"losses.pathology_{part}.options.{name}={value}" for part in ("pair", "image", "sentence"))


MAIN = {
    "place": Method("PLACE"),
    "ita": Method("ITA alone", (*NO_PCMA, *NO_CCE), score="instance", heat="instance"),
    "shuffled": Method("reports shuffled", ("data.shuffle_reports=true",)),
    "random": Method("random weights", trained=False),
}
ABLATIONS = {
    "place-no-cce": Method("PLACE without CCE", NO_CCE),
    "place-no-pcma": Method("PLACE without PCMA", NO_PCMA, score="instance", heat="instance"),
    "cce-teacher": Method("CCE target: average of past encoders", ("model.correlation.target=teacher",)),
    "cce-pixels": Method("CCE target: pixels", ("model.correlation.target=pixels",)),
    "cce-shallow": Method("CCE target: first map", ("model.correlation.target=shallow",)),
    "cce-pixels-masked": Method(
        "CCE target: pixels, a quarter of the student's view hidden, weight 3",
        ("model.correlation.target=pixels", "views.mask_ratio=0.25", "losses.correlation.weight=3"),
    ),
    "cce-3": Method("CCE weight 3", ("losses.correlation.weight=3",)),
    "select-max": Method("PCMA selection: maximum", _option("selection", "max")),
    "select-transport": Method("PCMA selection: transport", _option("selection", "transport")),
    "select-soft-tau-0.03": Method("PCMA selection: soft, temperature .03", _option("selection_temperature", "0.03")),
    "pcma-half": Method(
        "PCMA weights halved",
        (
            "losses.pathology_pair.weight=0.5",
            "losses.pathology_image.weight=0.5",
            "losses.pathology_sentence.weight=0.25",
        ),
    ),
    "ita-temperature-0.03": Method(
        "ITA alone, start temperature .03",
        (*NO_PCMA, *NO_CCE, "model.temperature=0.03"),
        score="instance",
        heat="instance",
    ),
    "no-sentence": Method("PCMA without sentence against sentences", ("losses.pathology_sentence.weight=0",)),
    "no-image": Method("PCMA without sentence against images", ("losses.pathology_image.weight=0",)),
}
METHODS = MAIN | ABLATIONS
