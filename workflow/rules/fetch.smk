# Reads nothing. Makes the face mesh's weights (weights/) and the demo actors' clips (work/actors/).


rule fetch_face_mesh:
    output:
        mesh="weights/face_landmark_with_attention.tflite",
        detector="weights/face_detection_short_range.tflite",
    log:
        "logs/fetch_face_mesh/all.log",
    benchmark:
        "benchmarks/fetch_face_mesh/all.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.fetch_face_mesh"),
    shell:
        """
        python -m pipeline.fetch_face_mesh \
            --mesh {output.mesh:q} \
            --detector {output.detector:q} \
            2>&1 | tee {log:q}
        """


rule make_actor:
    input:
        mesh=rules.fetch_face_mesh.output.mesh,
        detector=rules.fetch_face_mesh.output.detector,
    output:
        video="work/actors/{actor}.mp4",
    log:
        "logs/make_actor/{actor}.log",
    benchmark:
        "benchmarks/make_actor/{actor}.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.make_actor"),
        flags=flags(config["make_actor"]),
    shell:
        """
        python -m pipeline.make_actor \
            --actor {wildcards.actor:q} \
            --mesh-model {input.mesh:q} \
            --detector-model {input.detector:q} \
            --out {output.video:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """
