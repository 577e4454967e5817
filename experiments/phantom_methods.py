"""What the first-results table compares: every method is the recipe ``phantom-tiny`` with these
values changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from place_cxr.cli.demo import NO_CCE, NO_PCMA


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table. ``score`` and ``heat`` are fixed in advance: what a method trains is what
    it is read by.
    """

    title: str
    overrides: tuple[str, ...] = ()
    trained: bool = True
    score: str = "mix"  # of zero-shot and retrieval: instance, observation or mix
    heat: str = "observation"  # of grounding: instance or observation


def _option(name: str, value: str) -> tuple[str, ...]:
    return tuple(
        f"losses.pathology_{part}.options.{name}={value}" for part in ("pair", "image", "sentence")
    )


def _pcma(pair: float, image: float, sentence: float) -> tuple[str, ...]:
    weights = {"pair": pair, "image": image, "sentence": sentence}
    return tuple(f"losses.pathology_{part}.weight={weight}" for part, weight in weights.items())


MAIN = {
    "place": Method("PLACE"),
    "ita": Method("ITA alone", (*NO_PCMA, *NO_CCE), score="instance", heat="instance"),
    "shuffled": Method("reports shuffled", ("data.shuffle_reports=true",)),
    "random": Method("random weights", trained=False),
}
ABLATIONS = {
    "place-no-cce": Method("PLACE without CCE", NO_CCE),
    "place-no-pcma": Method("PLACE without PCMA", NO_PCMA, score="instance", heat="instance"),
    "no-sentence": Method(
        "PCMA without sentences against sentences", ("losses.pathology_sentence.weight=0",)
    ),
    "no-image": Method(
        "PCMA without sentences against images", ("losses.pathology_image.weight=0",)
    ),
    "pcma-double": Method("PCMA weights doubled", _pcma(1.0, 0.6, 0.4)),
    "select-max": Method("PCMA selection: maximum", _option("selection", "max")),
    "select-transport": Method("PCMA selection: transport", _option("selection", "transport")),
    "select-soft-tau-0.03": Method(
        "PCMA selection: soft, temperature .03", _option("selection_temperature", "0.03")
    ),
    "cce-pixels": Method("CCE target: pixels", ("model.correlation.target=pixels",)),
    "cce-shallow": Method("CCE target: first map", ("model.correlation.target=shallow",)),
    "cce-5": Method("CCE weight 5", ("losses.correlation.weight=5",)),
    "adamw": Method("AdamW alone", ("optim.linear=adamw", "optim.lr=2e-3")),
}
METHODS = MAIN | ABLATIONS
