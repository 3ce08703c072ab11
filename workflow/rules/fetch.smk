# Reads models/weights.yaml. Makes the networks' weights (weights/) and the demo actors' clips (work/actors/).
# What fetches is local, as a cluster's nodes may have no network. Files are kept, whatever the code that fetched them,
# and not deleted before a job: what they hold is pinned.


rule fetch_face_mesh:
    output:
        mesh=update("weights/face_landmark_with_attention.tflite"),
        detector=update("weights/face_detection_short_range.tflite"),
    log:
        "logs/fetch_face_mesh/all.log",
    benchmark:
        "benchmarks/fetch_face_mesh/all.tsv"
    localrule: True
    conda:
        "../../envs/main.yaml"
    shell:
        """
        python -m pipeline.fetch_face_mesh \
            --mesh {output.mesh:q} \
            --detector {output.detector:q} \
            2>&1 | tee {log:q}
        """


# `snakemake weights`: every network at once, so that one dead host stops no other. No file of it is an output,
# so Snakemake never deletes one.
rule weights:
    log:
        "logs/weights/all.log",
    localrule: True
    conda:
        "../../envs/main.yaml"
    params:
        mirror=config["weights"]["mirror"],
    shell:
        """
        python -m pipeline.fetch_weights \
            --folder weights \
            --mirror={params.mirror:q} \
            --only \
            2>&1 | tee {log:q}
        """


rule make_actor:
    input:
        networks=networks("mediapipe"),
    output:
        video="work/actors/{actor}.mp4",
    log:
        "logs/make_actor/{actor}.log",
    benchmark:
        "benchmarks/make_actor/{actor}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.make_actor"),
        flags=flags(config["make_actor"] | parts("make_actor")),
        configs=config_files,
    shell:
        """
        python -m pipeline.make_actor \
            --actor {wildcards.actor:q} \
            --networks weights \
            --out {output.video:q} \
            {params.flags} \
            --config.files {params.configs} \
            2>&1 | tee {log:q}
        """
