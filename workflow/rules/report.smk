# Reads a rendered video, its driver, its figures and how its portrait learned. Makes its side-by-side and what the report
# shows of it, work/report/{result}/. `snakemake --report results/report.html {targets}` puts that together.


wildcard_constraints:
    result="|".join(re.sub(r"\?P<\w+>", "?:", pattern) for pattern in RESULTS),


rule illustrate:
    input:
        video=of_result("render", "output", "video"),
        metrics=of_result("measure", "output", "metrics"),
        tracked=of_result("measure", "output", "tracked"),
        frames=of_result("measure", "input", "frames"),
        face=of_result("measure", "input", "face"),
        audio=of_result("render", "input", "audio"),
        histories=of_training("history"),
        previews=of_training("preview"),
        coverage=coverage_of,
        template="workflow/report/result.html",
        captions=expand("workflow/report/{part}.rst", part=SHOWN),
    output:
        side_by_side="results/{result}.side_by_side.mp4",
        page=report(
            "work/report/{result}/page.html",
            caption="../report/page.rst",
            category="{result}",
            labels={"shows": "1 everything"},
        ),
        contact=report(
            "work/report/{result}/contact.jpg",
            caption="../report/contact.rst",
            category="{result}",
            labels={"shows": "2 contact sheet"},
        ),
        worst=report(
            "work/report/{result}/worst.jpg",
            caption="../report/worst.rst",
            category="{result}",
            labels={"shows": "3 worst frames"},
        ),
        motion=report(
            "work/report/{result}/motion.png",
            caption="../report/motion.rst",
            category="{result}",
            labels={"shows": "4 motion"},
        ),
        learning=report(
            "work/report/{result}/learning.jpg",
            caption="../report/learning.rst",
            category="{result}",
            labels={"shows": "6 learning"},
        ),
        losses=report(
            "work/report/{result}/losses.png",
            caption="../report/losses.rst",
            category="{result}",
            labels={"shows": "7 losses"},
        ),
    log:
        "logs/illustrate/{result}.log",
    benchmark:
        "benchmarks/illustrate/{result}.tsv"
    group:
        "result"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.illustrate"),
        flags=flags(QUALITY | LABEL | {"components": USED} | parts("render.label")),
        beside=shown_beside,
        configs=config_files,
    shell:
        """
        python -m pipeline.illustrate \
            --video {input.video:q} \
            --metrics {input.metrics:q} \
            --tracked {input.tracked:q} \
            --frames {input.frames:q} \
            --face {input.face:q} \
            --audio {input.audio:q} \
            --histories {input.histories:q} \
            --previews {input.previews:q} \
            --coverage {input.coverage:q} \
            --template {input.template:q} \
            --captions {input.captions:q} \
            --side-by-side {output.side_by_side:q} \
            --page {output.page:q} \
            --contact {output.contact:q} \
            --worst {output.worst:q} \
            --motion {output.motion:q} \
            --learning {output.learning:q} \
            --losses {output.losses:q} \
            {params.flags} {params.beside} \
            --config.files {params.configs} \
            2>&1 | tee {log:q}
        """
