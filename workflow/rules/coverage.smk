# Reads the stores of a target, a driver and the target's auxiliary clips; no portrait, so nothing is trained.
# Makes results/{name}.coverage.{json,png}: how much of the driver's motion the target does not show, and what helps.
# In no group: it would tie the clips' preparation, or two results, together into one job of a cluster.


rule coverage:
    input:
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        driver_face="work/clips/{driver}/face.h5",
        driver_gaze="work/clips/{driver}/gaze.h5",
        auxiliary_face=auxiliary_stores("face"),
        auxiliary_gaze=auxiliary_stores("gaze"),
    output:
        figures="results/{target}_driven_by_{driver}.coverage.json",
        picture=report(
            "results/{target}_driven_by_{driver}.coverage.png",
            caption="../report/coverage.rst",
            category="{target}_driven_by_{driver}",
            labels={"shows": "5 coverage"},
        ),
    log:
        "logs/coverage/{target}_driven_by_{driver}.log",
    benchmark:
        "benchmarks/coverage/{target}_driven_by_{driver}.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.coverage"),
        flags=flags(HELD_OUT | TRANSFER | {"position": config["model"]["position"]}),
    shell:
        """
        python -m pipeline.coverage \
            --frames {input.frames:q} \
            --face {input.face:q} \
            --gaze {input.gaze:q} \
            --driver-face {input.driver_face:q} \
            --driver-gaze {input.driver_gaze:q} \
            --auxiliary-face {input.auxiliary_face:q} \
            --auxiliary-gaze {input.auxiliary_gaze:q} \
            --out {output.figures:q} \
            --picture {output.picture:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """
