"""The documents whose terms an audit uses: a table of terms, a version and a date for each."""

from dataclasses import dataclass

from advkit.core.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a document.

    Attributes:
        id: an identifier, a section or a paragraph of the document.
        name: name of the term.
        evidence: name of the rule that finds its evidence in a run (see `evidence.py`); None if advkit tries no such
            thing.
        without: text for a run that has no such evidence.
    """

    id: str
    name: str
    evidence: str | None = None
    without: str = "The run tried no such attack."


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A document and the terms of it that concern the evaluation of a classifier.

    Attributes:
        document: name of the document.
        version: version of the document.
        date: date of that version.
        scope: what the table leaves out.
        terms: terms in the document's order.
    """

    document: str
    version: str
    date: str
    scope: str
    terms: tuple[Term, ...]


TRAINING = "It happens before or while the model is trained. advkit evaluates a trained model."
SECRETS = "It asks what the model tells about its training or itself. advkit tries errors only."
SYSTEM = "It concerns the system and the organisation around the model, not the model."

NIST = Profile(
    document="NIST AI 100-2, Adversarial Machine Learning: A Taxonomy and Terminology of Attacks and Mitigations",
    version="E2025",
    date="March 2025",
    scope="The taxonomy of predictive AI. That of generative AI does not concern classifiers.",
    terms=(
        Term(id="NISTAML.022", name="Evasion", evidence="attacked"),
        Term(id="NISTAML.022, white-box", name="White-box evasion attacks", evidence="white_box"),
        Term(id="NISTAML.022, universal", name="Universal evasion attacks", evidence="universal"),
        Term(
            id="NISTAML.022, physical",
            name="Physically realizable attacks",
            without="Every image of the run was changed as a file. Nothing was printed, worn or photographed.",
        ),
        Term(id="NISTAML.025", name="Black-box evasion", evidence="black_box"),
        Term(id="NISTAML.025, score-based", name="Score-based attacks", evidence="scores"),
        Term(id="NISTAML.025, decision-based", name="Decision-based attacks", evidence="labels"),
        Term(id="transferability", name="Transferability of attacks", evidence="transfer"),
        Term(
            id="mitigations",
            name="Formal verification and randomized smoothing",
            evidence="certified",
            without="No image was certified.",
        ),
        Term(id="NISTAML.011", name="Model poisoning (availability)", without=TRAINING),
        Term(id="NISTAML.012", name="Clean-label poisoning", without=TRAINING),
        Term(id="NISTAML.013", name="Data poisoning", without=TRAINING),
        Term(
            id="NISTAML.014",
            name="Energy-latency",
            without="It asks how long the model takes. advkit tries errors only.",
        ),
        Term(id="NISTAML.021", name="Clean-label backdoor", without=TRAINING),
        Term(id="NISTAML.023", name="Backdoor poisoning", without=TRAINING),
        Term(id="NISTAML.024", name="Targeted poisoning", without=TRAINING),
        Term(id="NISTAML.026", name="Model poisoning (integrity)", without=TRAINING),
        Term(id="NISTAML.031", name="Model extraction", without=SECRETS),
        Term(id="NISTAML.032", name="Reconstruction", without=SECRETS),
        Term(id="NISTAML.033", name="Membership inference", without=SECRETS),
        Term(id="NISTAML.034", name="Property inference", without=SECRETS),
        Term(id="NISTAML.051", name="Model poisoning (supply chain)", without=TRAINING),
    ),
)

AI_ACT = Profile(
    document="Regulation (EU) 2024/1689 (AI Act), Article 15: Accuracy, robustness and cybersecurity",
    version="OJ L, 2024/1689, 12.7.2024",
    date="13 June 2024",
    scope=(
        "Paragraphs 1, 3, 4 and 5; paragraph 2 addresses the Commission. Whether the article applies to your system, "
        "and what level is appropriate, no measurement says."
    ),
    terms=(
        Term(
            id="15(1)",
            name="Consistent performance throughout the lifecycle",
            without="The run looked at one state of the model, on one set of images.",
        ),
        Term(id="15(3)", name="Levels of accuracy and the metrics to declare", evidence="clean"),
        Term(
            id="15(4), first subparagraph",
            name="Resilience to errors, faults and inconsistencies",
            evidence="corrupted",
            without="The run looked at no images that were damaged without an adversary (--corrupted hendrycks).",
        ),
        Term(id="15(4), second subparagraph", name="Technical redundancy", without=SYSTEM),
        Term(id="15(4), third subparagraph", name="Feedback loops of systems that go on learning", without=SYSTEM),
        Term(id="15(5), data poisoning", name="Manipulation of the training data", without=TRAINING),
        Term(id="15(5), model poisoning", name="Manipulation of pre-trained components", without=TRAINING),
        Term(id="15(5), adversarial examples", name="Adversarial examples or model evasion", evidence="attacked"),
        Term(id="15(5), confidentiality", name="Confidentiality attacks", without=SECRETS),
        Term(
            id="15(5), model flaws",
            name="Model flaws",
            evidence="checked",
            without="The run made no checks of the model and of the evaluation.",
        ),
        Term(
            id="15(5), control",
            name="Measures to prevent and control attacks",
            evidence="certified",
            without="No image was certified; other measures are not visible in a run.",
        ),
        Term(id="15(5), response", name="Measures to detect, respond to and resolve attacks", without=SYSTEM),
    ),
)

ATLAS = Profile(
    document="MITRE ATLAS, Adversarial Threat Landscape for AI Systems",
    version="5.6.0",
    date="30 April 2026",
    scope="Techniques against a classifier. Those against language models, agents and infrastructure are left out.",
    terms=(
        Term(id="AML.T0043.000", name="Craft Adversarial Data: White-Box Optimization", evidence="white_box"),
        Term(id="AML.T0043.001", name="Craft Adversarial Data: Black-Box Optimization", evidence="black_box"),
        Term(id="AML.T0043.002", name="Craft Adversarial Data: Black-Box Transfer", evidence="transfer"),
        Term(
            id="AML.T0043.003",
            name="Craft Adversarial Data: Manual Modification",
            without="Every image was changed by an algorithm, none by hand.",
        ),
        Term(id="AML.T0043.004", name="Craft Adversarial Data: Insert Backdoor Trigger", without=TRAINING),
        Term(id="AML.T0015", name="Evade AI Model", evidence="attacked"),
        Term(
            id="AML.T0031",
            name="Erode AI Model Integrity",
            without="It asks what errors do to trust over time. A run is one moment.",
        ),
        Term(
            id="AML.T0044",
            name="Full AI Model Access",
            evidence="white_box",
            without="No attack of the run had the model's gradients.",
        ),
        Term(
            id="AML.T0040",
            name="AI Model Inference API Access",
            evidence="black_box",
            without="No attack of the run was confined to the model's answers.",
        ),
        Term(
            id="AML.T0041",
            name="Physical Environment Access",
            without="Every image of the run was changed as a file. Nothing was printed, worn or photographed.",
        ),
        Term(id="AML.T0005", name="Create Proxy AI Model", evidence="transfer"),
        Term(id="AML.T0018.000", name="Manipulate AI Model: Poison AI Model", without=TRAINING),
        Term(id="AML.T0020", name="Poison Training Data", without=TRAINING),
        Term(id="AML.T0024.000", name="Infer Training Data Membership", without=SECRETS),
        Term(id="AML.T0024.001", name="Invert AI Model", without=SECRETS),
        Term(id="AML.T0024.002", name="Extract AI Model", without=SECRETS),
        Term(
            id="AML.T0029",
            name="Denial of AI Service",
            without="It asks whether the service holds. advkit tries errors only.",
        ),
        Term(id="AML.T0034", name="Cost Harvesting", without="It asks what queries cost. advkit tries errors only."),
    ),
)

PROFILES = {"nist-ai-100-2": NIST, "ai-act-15": AI_ACT, "atlas": ATLAS}
"""Name of a profile -> its table."""


def profile(name: str) -> Profile:
    """Return a profile by name.

    Args:
        name: "nist-ai-100-2", "ai-act-15" or "atlas".

    Raises:
        InputError: there is no such profile.
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
