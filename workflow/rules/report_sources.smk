# Which files belong to a result, by its name: what `illustrate` shares.
SHOWN = ["video", "contact", "worst", "motion", "coverage", "learning", "losses", "figures", "origin", "licences"]
SPEAKER_LEARNED = (
    ["train_stage1", "train_stage2", "train_lips"] if BY_MOTION else ["train_stage1_audio", "train_stage2_audio"]
)

OFFLINE_LEARNED = ["train_stage1"] + (["train_stage2"] if config["offline"]["begin"] == "stage2" else [])

# A result's name -> how the names of the rules that made it end, the trainings behind it, what it is shown beside
RESULTS = {
    rf"(?P<target>{NAME})_driven_by_(?P<driver>{NAME})": ("", ["train_stage1", "train_stage2"], "driver"),
    rf"(?P<target>{NAME})_driven_by_(?P<driver>{NAME})_offline": (
        "_offline",
        [*OFFLINE_LEARNED, "train_stage2_offline"],
        "driver",
    ),
    rf"(?P<target>{NAME})_self": ("_self", ["train_stage1", "train_stage2"], "truth"),
    rf"(?P<target>{NAME})_speaks_self": ("_speaks_self", SPEAKER_LEARNED, "truth"),
    rf"(?P<target>{NAME})_speaks_(?P<speech>{NAME})": ("_speech", SPEAKER_LEARNED, "footage"),
}


def kind_of(result):
    """What RESULTS says of a result, and the names that its name is made of."""
    found = {re.fullmatch(pattern, result): kind for pattern, kind in RESULTS.items()}
    return next((kind, match.groupdict()) for match, kind in found.items() if match)


def of_result(step, side, name):
    """Input function: the file of this name that goes into or comes out of a step that made the result."""

    def path(wildcards):
        (ending, _, _), names = kind_of(wildcards.result)
        return getattr(getattr(rules, f"{step}{ending}"), side)[name].format(**names)

    return path


def of_training(name):
    """Input function: the files of this name that the trainings behind the result leave."""

    def paths(wildcards):
        (_, trainings, _), names = kind_of(wildcards.result)
        outputs = [getattr(rules, training).output for training in trainings]
        return [output[name].format(**names) for output in outputs if name in output.keys()]

    return paths


def coverage_of(wildcards):
    """Input function: how much of the driver's motion the target shows; nothing where a person drives themselves."""
    names = kind_of(wildcards.result)[1]
    return rules.coverage.output.picture.format(**names) if "driver" in names else []


def shown_beside(wildcards):
    """Params function: what the result is shown beside, and where in it the result begins."""
    beside = kind_of(wildcards.result)[0][2]
    return flags({"beside": beside} | (END if beside == "truth" else WHOLE))
