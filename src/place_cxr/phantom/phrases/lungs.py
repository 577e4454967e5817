"""Lungs and pleura: where and how much, noun phrases, sentences, denials.

The notation is that of the package ``phrases``.
"""

from __future__ import annotations

WORD_RULES = {
    # Severity as an adjective: the name of a finding after it makes an exception.
    "small": "[small|small|small|tiny|minor]",
    "severe Consolidation": "[extensive|extensive|marked]",
    "mild Consolidation": "[mild|mild|minor]",
    "small Pneumothorax": "[small|small|tiny]",
    "moderate": "moderate",
    "moderate Pleural Effusion": "[moderate|moderate|moderate-sized|moderately sized]",
    "moderate Pneumothorax": "[moderate|moderate|moderate-sized|moderately sized]",
    "large": "[large|large|large|sizeable]",
    "mild": "[mild|mild|mild|slight|minor]",
    "mild Cardiomegaly": "[mild|mild|slight]",
    "severe": "[severe|severe|marked|extensive|pronounced]",
    "severe Cardiomegaly": "[severe|severe|marked|pronounced]",
    "severe Emphysema": "[severe|severe|marked|advanced]",
    "severe Edema": "[severe|severe|marked|florid]",
    "severe Atelectasis": "[severe|marked|extensive]",
    # Severity as an adverb.
    "mild ly": "[mildly|mildly|slightly]",
    "moderate ly": "moderately",
    "severe ly": "[severely|markedly|significantly]",
    # Where an object projects.
    "over side": "the {side} [chest|hemithorax|chest wall]",
    "over chest": "the [chest|thorax]",
    # Zone and side after a noun ("in the left upper lobe"); "both" without a side.
    "in upper": "in the {side} upper [lobe|lobe|lung|lung zone|lung field|zone]",
    "in mid": "in the {side} [mid lung|mid lung zone|midlung|mid zone|mid-lung field]",
    "in lower": (
        "["
        "in the {side} lower [lobe|lobe|lung|lung zone|lung field|zone]"
        "|at the {side} [lung base|base]"
        "]"
    ),
    "in side": "[in the {side} lung|in the {side} lung|on the {side}]",
    "in upper both": "in [both upper [lobes|lungs|lung zones]|the upper lobes bilaterally]",
    "in mid both": "in [both mid lungs|both mid lung zones|the mid lungs bilaterally]",
    "in lower both": (
        "["
        "in both lower [lobes|lungs|lung zones]"
        "|at both [lung bases|bases]"
        "|at the bases bilaterally"
        "]"
    ),
    "in side both": "[in both lungs|bilaterally]",
    # Zone and side before a noun ("left upper lobe").
    "of upper": "{side} upper [lobe|lobe|lung|lung zone|zone]",
    "of mid": "{side} [mid lung|midlung|mid zone|mid lung zone]",
    "of lower": "{side} [lower lobe|lower lobe|basilar|basal|lower lung|lower zone|lung base]",
    "of side": "{side} lung",
    "of upper both": "[bilateral upper lobe|bilateral upper lung|bilateral upper zone]",
    "of mid both": "bilateral [mid lung|mid zone|midlung]",
    "of lower both": (
        "[bibasilar|bibasilar|bibasal|bilateral lower lobe|bilateral basilar|bilateral lower lung]"
    ),
    "of side both": "[bilateral|bilateral|bilateral pulmonary]",
    # Words for nodules, fluid on a lying patient, numbers.
    "nodule": "[nodule|nodule|pulmonary nodule|nodular opacity|nodular density]",
    "mass": "[mass|mass|pulmonary mass|mass lesion|masslike opacity]",
    "layering": "[|||layering]",
    "count two": "[two|two|a couple of]",
    "count more": "[three|multiple|several|multiple]",
}

PLEURA_RULES = {
    # Fluid: by amount, by the blunted angle, by the meniscus.
    "Pleural Effusion": (
        "["
        "a {sev} [{side}|{side}|{side}-sided] {layering} "
        "[pleural effusion|pleural effusion|effusion|pleural fluid collection]"
        "|a {sev} effusion [on the {side}|at the {side} base]"
        "|m pleural fluid on the {side}"
        "|m {side} pleural fluid"
        "|a {sev} [{side}|{side}-sided] [hydrothorax|effusion]"
        "]"
    ),
    "Pleural Effusion several": (
        "["
        "p {sev} bilateral {layering} "
        "[pleural effusions|pleural effusions|effusions|pleural fluid collections]"
        "|p bilateral {sev} [pleural effusions|effusions]"
        "|p {sev} effusions [bilaterally|on both sides]"
        "|m bilateral pleural fluid"
        "]"
    ),
    "Pleural Effusion own small": (
        "["
        "[There is|] [blunting|mild blunting|obscuration] of the {side} [|lateral] costophrenic "
        "[angle|sulcus][|,] [consistent with|compatible with|in keeping with|due to|from] {plain}"
        "|The {side} costophrenic [angle|sulcus] is [blunted|obscured] by {plain}"
        "|{e bare} [blunting|obscuring|with blunting of] the {side} costophrenic [angle|sulcus]"
        "|A [small|trace|minimal] amount of [pleural fluid|fluid] [is present|is seen|is noted] "
        "[on the {side}|at the {side} costophrenic angle|at the {side} base]"
        "]"
    ),
    "Pleural Effusion own moderate": (
        "["
        "{e bare} with [a meniscus|a meniscus sign|fluid tracking up the lateral chest wall]"
        "|The {side} hemidiaphragm is obscured by {plain}"
        "|[Homogeneous|Dense|Hazy] opacification of the {side} [base|lower hemithorax][,|] "
        "[consistent with|due to|compatible with|representing] {plain}"
        "|[A moderate|A moderate|An intermediate] amount of [pleural fluid|fluid] is "
        "[present|seen|noted] on the {side}"
        "|A meniscus at the {side} base [indicates|reflects|corresponds to] {plain}"
        "]"
    ),
    "Pleural Effusion own large": (
        "["
        "{e bare} [occupies|fills|opacifies] [much|a large part] of the {side} hemithorax"
        "|[Opacification|Dense opacification|Near homogeneous opacification] of [much of|] the "
        "{side} [mid and lower hemithorax|hemithorax] "
        "[is due to|reflects|is consistent with|represents] {plain}"
        "|A large amount of [pleural fluid|fluid] is [present|seen|noted] on the {side}"
        "|{e bare} obscures the {side} hemidiaphragm [and costophrenic angle|]"
        "]"
    ),
    "Pleural Effusion own several": (
        "["
        "[Blunting|Obscuration] of both costophrenic [angles|sulci] "
        "[consistent with|due to|from|compatible with] {plain}"
        "|Both costophrenic [angles|sulci] are [blunted|obscured] by {plain}"
        "|The bilateral costophrenic angles are [blunted|obscured], "
        "[compatible with|in keeping with] {plain}"
        "]"
    ),
    "Pleural Effusion doubt": (
        "["
        "[Equivocal|Slight|Subtle|Minimal] blunting of the {side} costophrenic angle "
        "[may represent|could reflect|raises the possibility of] "
        "[a small effusion|trace pleural fluid|a tiny effusion or pleural thickening]"
        "|The {side} costophrenic angle is "
        "[not well seen|incompletely included|partially obscured] and a small effusion "
        "[cannot be excluded|is not excluded|is possible]"
        "]"
    ),
    "Pleural Effusion doubt several": (
        "[Slight|Subtle|Equivocal] blunting of both costophrenic angles "
        "[may represent|could reflect|raises the possibility of] "
        "[small effusions|trace pleural fluid]"
    ),
    "Pleural Effusion name": (
        "[pleural effusion|pleural effusion|pleural effusion|effusion|effusion|pleural fluid"
        "|large pleural effusion|sizeable effusion|significant pleural effusion]"
    ),
    "Pleural Effusion absent": (
        "["
        "The [costophrenic angles|costophrenic sulci|lateral costophrenic angles] are "
        "[sharp|clear|preserved]"
        "|[Sharp|Clear] costophrenic angles [bilaterally|]"
        "|The pleural spaces are free of fluid"
        "|Both costophrenic angles are [sharp|clear|well seen and sharp]"
        "|No blunting of the costophrenic angles"
        "]"
    ),
    "Pleural Effusion plain": (
        "[a {sev} [pleural effusion|effusion|pleural effusion]|a {sev} effusion|m pleural fluid]"
    ),
    "Pleural Effusion several plain": "p {sev} [pleural effusions|effusions]",
    # Air in the pleural space: by amount, by the visible pleural line.
    "Pneumothorax": (
        "["
        "a {sev} [{side}|{side}|{side}-sided] [|apical] pneumothorax"
        "|a {sev} pneumothorax on the {side}"
        "|a {sev} pneumothorax [at the {side} apex|in the {side} hemithorax]"
        "]"
    ),
    "Pneumothorax several": "p {sev} bilateral pneumothoraces",
    "Pneumothorax own": (
        "["
        "A [thin|visible|fine|] visceral pleural [line|edge] [is seen|is visible|is present] "
        "[on the {side}|at the {side} apex], [consistent with|compatible with|in keeping with] "
        "{plain}"
        "|[There is|] absence of lung markings [beyond the pleural line|peripherally] on the "
        "{side}[, due to| from] {plain}"
        "|{e bare} [is seen|is present] with "
        "[a visible pleural line|absent peripheral lung markings]"
        "|[Lucency|Peripheral lucency] without lung markings in the {side} hemithorax "
        "[represents|is consistent with] {plain}"
        "]"
    ),
    "Pneumothorax own large": (
        "["
        "{e bare} with [partial|considerable] collapse of the underlying lung"
        "|{e bare}, the [underlying|remaining] lung is retracted toward the hilum"
        "|There is [partial|considerable] collapse of the {side} lung [due to|from] {plain}"
        "]"
    ),
    "Pneumothorax doubt": (
        "["
        "A [faint|thin|subtle] line [at the {side} apex|over the {side} upper hemithorax]"
        " may represent "
        "[a skin fold or pneumothorax|a small pneumothorax|a small pneumothorax versus skin fold]"
        "|[Subtle|Equivocal] {side} apical lucency, "
        "[a tiny pneumothorax cannot be excluded|possible small pneumothorax]"
        "]"
    ),
    "Pneumothorax name": (
        "[pneumothorax|pneumothorax|pneumothorax|pneumothorax|large pneumothorax"
        "|apical pneumothorax]"
    ),
    "Pneumothorax absent": (
        "["
        "No [|visible|discernible] pleural line to suggest pneumothorax"
        "|No [|apical] pneumothorax on [either side|this [|single] [view|projection]]"
        "|Lung markings extend to the chest wall without pneumothorax"
        "]"
    ),
    "Pneumothorax plain": "a {sev} [|apical] pneumothorax",
}

LUNG_RULES = {
    # Filled lung. A cause (pneumonia) is named in sentences of its own.
    "Consolidation": (
        "["
        "m {sev} {of} "
        "[consolidation|consolidation|airspace disease|airspace opacification"
        "|air space consolidation]"
        "|a {sev} {of} "
        "[opacity|opacity|airspace opacity|consolidative opacity|infiltrate|parenchymal opacity]"
        "|m {sev} [consolidation|airspace disease|airspace opacification] {in}"
        "|a {sev} [focal|patchy|dense|ill-defined|confluent] "
        "[opacity|opacity|infiltrate|consolidation] {in}"
        "|a [focus|focal area|area|region] of {sev} "
        "[consolidation|airspace disease|airspace opacity] {in}"
        "]"
    ),
    "Consolidation several": (
        "["
        "m {sev} {of} [consolidation|airspace disease|airspace opacification]"
        "|p {sev} {of} "
        "[opacities|airspace opacities|consolidations|consolidative opacities|infiltrates]"
        "|p {sev} [patchy|multifocal|ill-defined|confluent] "
        "[opacities|airspace opacities|infiltrates] {in}"
        "|p [areas|foci] of {sev} [consolidation|airspace disease] {in}"
        "]"
    ),
    "Consolidation own any": (
        "["
        "{e bare}, [concerning for|suspicious for|in keeping with|compatible with] "
        "[pneumonia|infection|an infectious process]"
        "|{e bare} [worrisome for|compatible with] [lobar|] pneumonia"
        "|[There is|] {e full}, [which is|] consistent with "
        "[pneumonia|infection|pneumonia in the appropriate clinical setting]"
        "]"
    ),
    "Consolidation doubt": (
        "["
        "[A subtle|A faint|A vague|An ill-defined] [opacity|density|haziness] {in} "
        "[may represent|could reflect|could be] "
        "["
        "early consolidation"
        "|developing pneumonia"
        "|early airspace disease"
        "|superimposed structures or early infiltrate"
        "]"
        "|[Subtle|Faint|Vague|Hazy] [increased density|density|opacity] {in}, "
        "[early pneumonia|developing consolidation|infection|aspiration] "
        "[cannot be excluded|is not excluded|is possible]"
        "]"
    ),
    "Consolidation name": (
        "[[focal |]consolidation|[focal |]consolidation|airspace consolidation"
        "|[focal |]airspace disease|pneumonia|[focal |]infiltrate|focal airspace opacity"
        "|airspace opacity|acute infiltrate|confluent opacity|lobar consolidation]"
    ),
    "Consolidation absent": (
        "["
        "The lungs are without [focal consolidation|focal airspace disease|infiltrate]"
        "|No confluent airspace opacity"
        "|No [|radiographic] [evidence|sign] of "
        "[pneumonia|an infectious process|focal airspace disease]"
        "]"
    ),
    "Consolidation own any moderate": (
        "["
        "{e bare} with [visible|] air bronchograms"
        "|Air bronchograms within {e full}"
        "|{e full} containing air bronchograms"
        "]"
    ),
    "Consolidation own any severe": (
        "["
        "{e bare} with [visible|] air bronchograms"
        "|Air bronchograms within {e full}"
        "|{e full} containing air bronchograms"
        "]"
    ),
    "Consolidation maybe": (
        "["
        "m {of} [consolidation|pneumonia|airspace disease]"
        "|m [early|developing|subtle] [consolidation|airspace disease|pneumonia] {in}"
        "|a [subtle|faint|vague|hazy] opacity {in}"
        "|a {of} [opacity|infiltrate]"
        "]"
    ),
    # Lung without air: bands and lines.
    "Atelectasis": (
        "["
        "m {sev} {of} "
        "[atelectasis|atelectasis|atelectatic change|volume loss|subsegmental atelectasis]"
        "|m {sev} [linear|plate-like|discoid|subsegmental|bandlike] atelectasis {in}"
        "|m {sev} [atelectasis|volume loss|atelectatic change] {in}"
        "|a [band|linear band|streak] of {sev} atelectasis {in}"
        "]"
    ),
    "Atelectasis several": (
        "["
        "m {sev} {of} [atelectasis|atelectasis|atelectatic change|volume loss]"
        "|m {sev} [linear|plate-like|discoid|subsegmental] atelectasis {in}"
        "|p [bands|linear bands|streaks] of {sev} atelectasis {in}"
        "]"
    ),
    "Atelectasis own any": (
        "["
        "[A linear|A bandlike|A plate-like|A streaky] [opacity|density] {in} "
        "[is consistent with|is compatible with|represents|reflects] {plain}"
        "|[Streaky|Linear|Bandlike] [opacities|densities|markings] {in} "
        "[are consistent with|represent|reflect] {plain}"
        "|[There is|] volume loss {in} [consistent with|from|due to] {plain}"
        "|Linear opacities {in}, [in keeping with|consistent with] {plain}"
        "]"
    ),
    "Atelectasis doubt": (
        "["
        "[Streaky|Linear|Subtle linear|Faint linear] [opacity|density] {in} "
        "[may represent|could reflect|possibly represents] "
        "[atelectasis|atelectasis or scarring|subsegmental atelectasis|minor atelectasis]"
        "]"
    ),
    "Atelectasis name": "[atelectasis|atelectasis|volume loss|collapse|lobar collapse]",
    "Atelectasis maybe": (
        "["
        "m {of} [atelectasis|volume loss|atelectatic change]"
        "|m [subsegmental|linear|platelike] atelectasis {in}"
        "]"
    ),
    "Atelectasis plain": "m {sev} [|subsegmental|linear] atelectasis",
    # Fluid in the lungs: haze, vessels, septal lines. It has no side.
    "Edema": (
        "["
        "m {sev} "
        "["
        "pulmonary edema"
        "|pulmonary edema"
        "|interstitial edema"
        "|pulmonary interstitial edema"
        "|edema"
        "|pulmonary vascular congestion and edema"
        "]"
        "|a [pattern|picture] of {sev} [pulmonary|interstitial] edema"
        "]"
    ),
    "Edema own any": (
        "["
        "[Diffuse|Bilateral|Symmetric] [interstitial|hazy|perihilar] "
        "[markings|opacities|prominence] "
        "[consistent with|compatible with|in keeping with|reflecting|representing] {e full}"
        "|{e bare} with [|perihilar] "
        "[haziness|indistinct vessels|vascular indistinctness|vascular congestion]"
        "|[Perihilar|Bilateral perihilar|Central] [haze|haziness|opacities] "
        "[consistent with|in keeping with|compatible with|due to] {e full}"
        "|[The pulmonary vasculature is|Pulmonary vessels are] [indistinct|engorged|ill-defined], "
        "[consistent with|compatible with|in keeping with] {e full}"
        "|[Septal lines|Kerley B lines] and [perihilar haze|vascular indistinctness] "
        "[consistent with|compatible with|reflecting] {e full}"
        "|{e bare} with [septal lines|Kerley B lines]"
        "]"
    ),
    "Edema doubt": (
        "["
        "[Prominent|Mildly prominent|Slightly increased|Equivocal] "
        "[interstitial markings|perihilar markings|central vessels] "
        "[may represent|could reflect|raise the possibility of] "
        "[mild edema|early interstitial edema|pulmonary vascular congestion]"
        "|[Borderline|Questionable|Possible] "
        "[pulmonary vascular congestion|interstitial edema|mild edema]"
        "]"
    ),
    "Edema name": (
        "["
        "pulmonary edema"
        "|pulmonary edema"
        "|edema"
        "|[overt|frank|interstitial] [pulmonary |]edema"
        "|vascular congestion"
        "|pulmonary vascular congestion"
        "]"
    ),
    "Edema absent": (
        "["
        "[The|] pulmonary vasculature is [normal|within normal limits|unremarkable|not engorged]"
        "|Pulmonary vascularity is [normal|within normal limits|not increased]"
        "|[No|There are no] signs of "
        "[cardiac failure|fluid overload|congestive heart failure|volume overload]"
        "]"
    ),
    "Edema maybe": "m {sev} [pulmonary edema|interstitial edema|edema|pulmonary edema]",
    # One nodule or mass: {lump} is the word, {size} its diameter.
    "Nodule": (
        "["
        "a {size} [|round|rounded|well-defined|solid] {of} {lump}"
        "|a {size} {lump} {in}"
        "|a [|rounded|well-circumscribed] {lump} {in} measuring {size plain}"
        "|a [rounded|round|well-circumscribed] [opacity|density] {in} measuring {size plain} "
        "[|in diameter|in greatest dimension]"
        "|a {of} {lump} measuring {size plain}"
        "]"
    ),
    "Nodule own": (
        "["
        "{e full} is [noted|seen|identified][;| and] "
        "["
        "CT is recommended"
        "|further evaluation with CT is advised"
        "|follow-up imaging is recommended"
        "|chest CT is suggested for further evaluation"
        "]"
        "|{e full} is [indeterminate|suspicious|concerning for neoplasm|suspicious for malignancy]"
        "]"
    ),
    "Nodule doubt": (
        "["
        "A [possible|questionable|faint|vague] [nodule|nodular opacity|nodular density] {in}"
        "[ may be| could be|, possibly] "
        "[a nipple shadow|summation of shadows|a vessel seen on end|superimposed structures]"
        "|[Nodular|Rounded] [density|opacity] {in} "
        "[may represent|could represent|possibly represents] "
        "[a pulmonary nodule|a small nodule|a nodule versus overlap of vessels]"
        "]"
    ),
    "Nodule name": (
        "["
        "pulmonary nodule"
        "|nodule"
        "|[suspicious |discrete |]pulmonary nodule"
        "|[suspicious |]lung nodule"
        "|mass"
        "|nodule or mass"
        "|pulmonary mass"
        "]"
    ),
    "Nodule absent": (
        "["
        "No [suspicious|discrete|dominant|worrisome|] [pulmonary|lung] "
        "[nodules|nodules or masses|masses] [are seen|]"
        "]"
    ),
    "Nodule maybe": (
        "["
        "a [small|subtle|faint|vague] {of} [nodule|nodular opacity|nodular density]"
        "|a {size} {of} [nodule|nodular opacity]"
        "|a [nodule|nodular density|pulmonary nodule] {in}"
        "]"
    ),
    # Overinflated lungs. It has no side.
    "Emphysema": (
        "["
        "m {sev} [emphysema|emphysema|pulmonary emphysema|emphysema]"
        "|p {sev} [emphysematous changes|emphysematous changes|changes of emphysema]"
        "]"
    ),
    "Emphysema own any": (
        "["
        "The lungs are hyperinflated[| with flattened [hemidiaphragms|diaphragms]], "
        "[consistent with|compatible with|in keeping with] {e full}"
        "|[Hyperinflation|Hyperexpansion|Hyperlucency] of the lungs "
        "[consistent with|from|due to|compatible with] {e full}"
        "|{e bare} with "
        "[hyperinflation|hyperexpanded lungs|flattening of the diaphragm|hyperlucent lungs]"
        "|[Flattened diaphragms|Increased lung volumes|Hyperlucent lungs] "
        "[reflect|indicate|are in keeping with] {e full}"
        "]"
    ),
    "Emphysema doubt": (
        "["
        "[Slight|Equivocal|Borderline|Mild] [hyperinflation|hyperlucency] "
        "[may represent|could reflect|raises the possibility of] "
        "[emphysema|underlying emphysema|emphysema or obstructive lung disease]"
        "]"
    ),
    "Emphysema name": "[hyperinflation|emphysema|emphysematous change]",
    "Emphysema absent": (
        "["
        "Lung volumes are normal without hyperinflation"
        "|The lungs are not hyperinflated"
        "|No flattening of the diaphragms"
        "]"
    ),
    # Several nodules in one line of an impression.
    "Nodules many": (
        "["
        "{count} [pulmonary|lung|] nodules[, the largest| measuring up to] {size plain}"
        "|{count} [pulmonary|lung] nodules, the largest {in}"
        "|{count} [pulmonary nodules|nodular opacities][, as above| as described|]"
        "]"
    ),
}
