# What the tables' rules share: which rows a table has, and which portrait, video and figures belong to a row.
LOSSES = ["adversarial", "perceptual", "consistency", "velocity"]
FOREIGN = sorted(path.name for path in Path("data/foreign").glob("*/"))
OURS = re.compile(r"ours|dnp|stage1|full|offline|auxiliary_.*|without_.*")  # rows that other systems can't be named as
ROW = r"[A-Za-z0-9._-]+"
STAGE1 = "work/portraits/{target}/video/stage1.pt"
FULL = "work/tables/{target}_driven_by_{driver}/full/stage2.pt"


for method in FOREIGN:
    if OURS.fullmatch(method):
        sys.exit(f"error: data/foreign/{method}: rename it; a table has a row of that name already")
    if not re.fullmatch(ROW, method):
        sys.exit(f"error: data/foreign/{method}: rename it; a row has letters, digits, '-', '_' and '.' in its name")


def table_pairs():
    """["Biden_driven_by_May"]: those of the config, else every clip driven by the next one; a single one by an actor."""
    names = list(VIDEOS) or ACTORS
    cycle = zip(names, [*names[1:], names[0]] if len(names) > 1 else ACTORS)
    pairs = config["tables"]["pairs"] or [f"{target}_driven_by_{driver}" for target, driver in cycle]
    for pair in pairs:
        if len({*pair.split("_driven_by_")}) == 1:
            sys.exit(f"error: tables.pairs names {pair}; a table compares clips that another person drives")
    return pairs


def table_rows(table):
    """["result/row"] of a table of the paper, in its order; "ours" is a result that users ask for by itself."""
    pairs = table_pairs()
    targets = list(dict.fromkeys(pair.split("_driven_by_")[0] for pair in pairs))
    most = len(lenders(*pairs[0].split("_driven_by_"), "full", config["auxiliary"]["count"])) if table == "5" else 0
    shorter = [f"auxiliary_{count}" for count in range(1, most)]
    results, rows = {
        "1": ([f"{target}_self" for target in targets], ["dnp", "ours"]),
        "2": (pairs, ["dnp", "full", "offline"]),
        "3": ([f"{targets[0]}_speaks_self"], ["dnp", "ours"]),
        "4": (pairs[:1], ["dnp", *(f"without_{term}" for term in LOSSES), "full"]),
        "5": (pairs[:1], ["dnp", "stage1", *shorter, "full"]),
    }[table]
    foreign = FOREIGN if table in "123" else []
    there = {
        result: [row for row in foreign if Path(f"data/foreign/{row}/{result}.mp4").exists()] for result in results
    }
    return [f"{result}/{row}" for result in results for row in [*there[result], *rows]]


def row_files(ours, others):
    """Input function: a file of each row; `ours` and `others` are paths with {result} and {row}."""

    def paths(wildcards):
        rows = [name.split("/") for name in table_rows(wildcards.table)]
        return [(ours if row == "ours" else others).format(result=result, row=row) for result, row in rows]

    return paths


def row_drivers(wildcards):
    """Input function: the frame store that each row is shown beside."""
    results = [name.split("/")[0] for name in table_rows(wildcards.table)]
    drivers = [re.sub(r".*_driven_by_|_speaks_self$|_self$", "", result) for result in results]
    return [f"work/clips/{driver}/frames.h5" for driver in drivers]


def row_portrait(wildcards):
    """Input function: the portrait of a driven row."""
    stage1 = {"stage1": STAGE1, "dnp": rules.train_dnp.output.portrait}
    return stage1.get(wildcards.row, "work/tables/{target}_driven_by_{driver}/{row}/stage2.pt").format(**wildcards)


def lenders(target, driver, variant, count):
    """The first clips that lend a row's portrait their motion: never the driver; demo actors where clips run out. A
    portrait keeps those it was first trained with."""
    first = recorded(f"work/tables/{target}_driven_by_{driver}/{variant}")
    known = [name for name in first if name in VIDEOS or name in ACTORS]
    clips = dict.fromkeys([*(config["auxiliary"]["clips"] or known or VIDEOS), *ACTORS])
    others = [name for name in clips if name not in (target, driver)]
    if not others:
        sys.exit("Tables 2, 4 and 5 need a third clip in data/videos, to lend its motion instead of the driver's.")
    return others[:count]


def variant_stores(store):
    """Input function: one store of each lender; `auxiliary_2` has two."""

    def paths(wildcards):
        named = wildcards.variant.removeprefix("auxiliary_")
        count = int(named) if named.isdigit() else config["auxiliary"]["count"]
        clips = lenders(wildcards.target, wildcards.driver, wildcards.variant, count)
        return [f"work/clips/{clip}/{store}.h5" for clip in clips]

    return paths


def variant_offline_stores(store):
    """Input function: one store of each lender, then the driver's."""

    def paths(wildcards):
        clips = lenders(wildcards.target, wildcards.driver, "offline", config["auxiliary"]["count"])
        return [f"work/clips/{clip}/{store}.h5" for clip in [*clips, wildcards.driver]]

    return paths


def variant_flags(wildcards):
    """Stage II with one loss left out, or none."""
    weights = config["train_stage2"]["weights"]
    left = {term: 0 if wildcards.variant == f"without_{term}" else weight for term, weight in weights.items()}
    return flags(DEVICE | LEARNED | TRANSFER | PERCEPTION | config["train_stage2"] | {"weights": left})
