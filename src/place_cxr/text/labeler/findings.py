"""The words for findings.

One phrase a line: words separated by blanks; ``a|b`` are alternatives, and an alternative may be
empty (``acute|``). Words are lower case without hyphens, as ``phrases.tokenize_sentence`` returns
them. The longest phrase at a position counts; of two equal ones the later table or line.
"""

from __future__ import annotations

from place_cxr.text.labeler.terms import (
    ACUTE_CHEXPERT_FINDINGS,
    LUNG_FINDINGS,
    Term,
    symmetric_term,
)

FINDING_WORDS: dict[str, tuple[Term, str]] = {
    # The heart.
    "cardiomegaly": (symmetric_term("Cardiomegaly"), "cardiomegaly"),
    # The pleural space: fluid, air, or both.
    "effusion": (
        symmetric_term("Pleural Effusion"),
        """
        pleural| effusion|effusions
        pleural fluid collection|collections|
        fluid in|within the pleural|right|left|minor|major| space|spaces|fissure|fissures
        fissural fluid|effusion
        fluid
        hydrothorax|hemothorax|haemothorax|empyema
        parapneumonic effusion|effusions
        """,
    ),
    "pneumothorax": (symmetric_term("Pneumothorax"), "pneumothorax|pneumothoraces|ptx"),
    "hydropneumothorax": (
        symmetric_term("Pneumothorax", "Pleural Effusion"),
        "hydropneumothorax|hydropneumothoraces|hemopneumothorax",
    ),
    # The lungs: filled air spaces, infection, any opacity.
    "consolidation": (
        symmetric_term("Consolidation"),
        """
        consolidation|consolidations|consolidative|consolidated
        air|airspace|alveolar space| consolidation|consolidations
        air bronchogram|bronchograms
        """,
    ),
    "consolidative opacity": (
        symmetric_term("Consolidation", "Lung Opacity"),
        "consolidative opacity|opacities|density",
    ),
    "pneumonia": (
        symmetric_term("Pneumonia"),
        """
        pneumonia|pneumonias|pneumonic|bronchopneumonia
        infection|infections
        infectious process|processes|etiology|infiltrate|pneumonitis
        """,
    ),
    "opacity": (
        symmetric_term("Lung Opacity"),
        """
        opacity|opacities|opacification|opacifications|opacified
        airspace|alveolar|interstitial|pulmonary opacity|opacities
        airspace|alveolar|interstitial|pulmonary infiltrate|infiltrates|infiltration
        air space opacity|opacities|disease|process
        airspace|alveolar disease|process
        infiltrate|infiltrates|infiltration
        increased|prominent|coarse|coarsened|accentuated interstitial|reticular|perihilar markings
        increased|prominent|coarse|coarsened|accentuated bronchovascular|lung markings
        interstitial prominence|thickening|disease|changes|pattern
        interstitial lung disease|changes
        prominence of the interstitium
        prominence of the interstitial|bronchovascular|lung markings
        reticular|reticulonodular|interstitial pattern|markings|density|densities
        increased|hazy|streaky|patchy|focal|linear|basilar|vague|faint|subtle density|densities
        haziness|haze
        ground glass
        airspace|air|parenchymal space| density|densities
        pleural parenchymal|based opacity|density
        """,
    ),
    # Nodules and masses; one called an opacity is both.
    "lesion": (
        symmetric_term("Lung Lesion"),
        """
        nodule|nodules|nodularity
        nodular|rounded|masslike density|densities
        mass|masses
        mass lesion|lesions
        lung|pulmonary lesion|lesions|tumor|tumors|cancer|carcinoma|metastasis|metastases
        metastasis|metastases|malignancy|neoplasm|neoplastic
        metastatic disease
        cavity|cavitary|cavitation
        """,
    ),
    "nodular opacity": (
        symmetric_term("Lung Lesion", "Lung Opacity"),
        """
        nodular|rounded|round|masslike opacity|opacities|infiltrate
        well circumscribed|defined opacity|density
        """,
    ),
    # Lung without air: lost volume or collapse.
    "atelectasis": (
        symmetric_term("Atelectasis"),
        """
        atelectasis|atelectases|atelectatic
        volume loss
        loss of volume
        lobar|lung|pulmonary|partial|complete|lobe collapse
        collapse
        collapse of the|underlying|right|left| lung|lobe|upper|lower|middle|underlying lobe|lung|
        collapsed lung|lobe
        """,
    ),
    # Fluid in the lungs, and heart failure, which reports use for the same.
    "edema": (
        symmetric_term("Edema"),
        """
        edema|oedema
        pulmonary|interstitial|alveolar edema|oedema
        pulmonary| vascular|venous congestion
        pulmonary congestion
        congestion
        cardiac|heart failure
        congestive heart| failure
        heart failure|decompensation
        chf
        gross|overt| failure
        fluid|volume overload
        kerley b lines
        septal lines
        """,
    ),
    # The pleura without free fluid or air.
    "pleural other": (
        symmetric_term("Pleural Other"),
        """
        pleural thickening|plaque|plaques|scarring|scar|calcification|calcifications
        pleural reaction|disease|mass|masses
        thickening
        pleural parenchymal|based scarring|mass|thickening|nodule
        apical|biapical|pleural pleural|apical thickening|scarring
        apical capping|cap|caps
        fibrothorax
        calcified pleura|pleural|plaques plaques|plaque|
        """,
    ),
    # Bones.
    "fracture": (
        symmetric_term("Fracture"),
        """
        fracture|fractures|fractured
        rib|compression|clavicle|clavicular fracture|fractures
        """,
    ),
    # Devices and what surgery leaves behind.
    "device": (
        symmetric_term("Support Devices"),
        """
        pacemaker|pacer|icd|aicd|defibrillator|generator|stimulator|leads|electrode|electrodes
        pacing|pacemaker|cardiac|monitoring|monitor lead|leads|wire|wires
        implanted|indwelling|support|medical lead|leads|wire|wires
        pacing|pacemaker|cardiac|monitoring|implanted|indwelling|support|medical device|devices
        pacer|monitor|ekg|ecg leads|lead|generator
        cardiac pacemaker|pacer|defibrillator|generator
        cardiac pacing|monitor|monitoring device|leads
        tube|tubes|tubing|catheter|catheters|lines|port|portacath|mediport|picc|cvc|ett
        cannula|drain|drains|stent|stents
        picc|port|central|venous|vascular|dialysis|subclavian|jugular catheter|line|lines
        central venous catheter|line|access
        endotracheal|tracheal|nasogastric|orogastric|enteric|feeding|et|ng|og tube|tubes|catheter
        chest|thoracostomy|pigtail tube|tubes|catheter
        tracheostomy|
        port a cath
        chest port
        the|this|access|arterial|venous|central line
        valve|valves|prosthesis|hardware|screws|rods|coil|coils
        prosthetic|mechanical|artificial|heart|aortic|mitral heart|valve| valve|valves|replacement
        surgical|metallic|vascular|cholecystectomy|mediastinal|hilar clip|clips
        clips|sutures|staples|staple
        sternotomy|sternal wire|wires|sutures|xxxx|clips
        median| sternotomy wires
        swan ganz
        device|devices
        """,
    ),
    # Abnormalities that are none of the 14 findings, and must not be taken for one.
    "other": (
        Term(),
        """
        emphysema|emphysematous|copd
        hyperinflation|hyperinflated|hyperexpansion|hyperexpanded|hyperlucency|hyperlucent
        chronic obstructive pulmonary disease
        subcutaneous|mediastinal emphysema|air
        fibrosis|fibrotic|bronchiectasis
        scar|scars|scarring
        granuloma|granulomas|granulomata
        granulomatous infection|process
        calcified|granulomatous granuloma|granulomas|nodule|nodules|disease|lymph
        calcification|calcifications|calcified
        calcified left|right| upper|lower|middle|mid|basilar lobe|lung| nodule|nodules
        calcified left|right| apical|lung| lobe|lung| nodule|nodules
        calcified left|right| upper|lower|middle|mid|basilar lobe|lung| density|densities
        calcified left|right| apical|lung| lobe|lung| density|densities
        vascular|pulmonary| redistribution|cephalization
        bronchovascular|vascular|bronchopulmonary crowding
        hernia|hernias|eventration
        air fluid level|levels
        fluid status|balance|resuscitation
        scoliosis|kyphosis|osteophyte|osteophytes|spondylosis|osteopenia|osteoporosis
        degenerative|arthritic|surgical|postsurgical|postoperative|chronic change|changes
        degenerative disc|joint disease
        tortuosity|tortuous|ectasia|ectatic|aneurysm
        atherosclerosis|atherosclerotic
        adenopathy|lymphadenopathy
        bronchial|peribronchial|septal|wall thickening|cuffing
        acute| abnormality|abnormalities of|in the visualized|imaged| upper| abdomen|tissues|soft
        acute| abnormality|abnormalities of|in the included upper| abdomen|tissues|soft
        pericardial effusion|effusions
        soft tissue edema|swelling|mass|infection
        chest wall mass|masses|lesion|nodule
        mediastinal|hilar|breast|thyroid|paratracheal mass|masses|nodule|opacity
        pneumomediastinum|pneumoperitoneum
        free| intraperitoneal| air
        deformity|deformities
        foreign body|bodies|object|objects
        mass effect|effects
        vertebral|subchondral collapse
        flattening of the diaphragm|diaphragms|hemidiaphragm|hemidiaphragms
        """,
    ),
    # General words: alone they show no finding, but their denial excludes several.
    "acute": (
        Term(denies=ACUTE_CHEXPERT_FINDINGS),
        """
        acute|active cardiopulmonary|intrathoracic|radiographic| abnormality|abnormalities
        acute|active cardiopulmonary|intrathoracic|radiographic| process|processes|disease
        acute|active cardiopulmonary|intrathoracic|radiographic| finding|findings|pathology
        acute|active cardiothoracic|thoracic abnormality|abnormalities|process|processes|disease
        acute|active cardiothoracic|thoracic finding|findings|pathology
        acute radiographic|cardiopulmonary cardiopulmonary|radiographic abnormality|process
        acute radiographic|cardiopulmonary cardiopulmonary|radiographic disease|findings
        cardiopulmonary|intrathoracic|cardiothoracic disease|abnormality|abnormalities
        cardiopulmonary|intrathoracic|cardiothoracic process|pathology|findings
        """,
    ),
    "acute lung": (
        Term(denies=("Edema", "Consolidation", "Pneumonia")),
        """
        acute|active lung|pulmonary|parenchymal abnormality|abnormalities|process
        acute|active lung|pulmonary|parenchymal disease|finding|findings
        """,
    ),
    "lung abnormality": (
        Term(denies=LUNG_FINDINGS),
        """
        focal|pulmonary|lung|parenchymal parenchymal|lung|pulmonary| abnormality|abnormalities
        focal|pulmonary|lung|parenchymal parenchymal|lung|pulmonary| lesion
        """,
    ),
    "bone abnormality": (
        Term(denies=("Fracture",)),
        """
        bony|osseous or|and soft tissue abnormality|abnormalities
        acute| bony|osseous|skeletal|bone acute| abnormality|abnormalities|finding|findings
        acute| bony|osseous|skeletal|bone acute| injury|lesion|trauma
        """,
    ),
    "pleural abnormality": (
        Term(denies=("Pneumothorax", "Pleural Effusion", "Pleural Other")),
        "pleural abnormality|abnormalities|findings",
    ),
    "pleural line": (Term(denies=("Pneumothorax",)), "pleural|visceral pleural| line|edge|xxxx"),
    # Diagnoses that no image decides: they neither show nor exclude a finding.
    "neoplasm word": (Term(), "lymphoma|sarcoidosis|tuberculosis|contusion|aspiration"),
}
