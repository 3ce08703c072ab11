# The whole path from two videos to a driven portrait; each rule file opens with what it reads and makes.
from snakemake.utils import min_version, validate

min_version("9.0")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


validate(config, "workflow/schemas/config.schema.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/render.smk"
include: "workflow/rules/speech.smk"
include: "workflow/rules/coverage.smk"
include: "workflow/rules/report_sources.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/grid.smk"
include: "workflow/rules/live.smk"
include: "workflow/rules/table_rows.smk"
include: "workflow/rules/tables.smk"


rule demo:
    default_target: True
    input:
        "results/Astronaut_driven_by_Admiral.mp4",


onstart:
    if workflow.local_exec:  # a cluster's nodes are not this machine
        announce_duration(config, workflow.cores)
    for line in [*VIDEOS_LEFT_OUT, *SPEECHES_LEFT_OUT]:
        print(f"Left out: {line}")
