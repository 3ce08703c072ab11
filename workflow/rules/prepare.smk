# Reads data/videos/{clip}.* (or a demo actor). Makes the clip's stores work/clips/{clip}/{frames,face,gaze,audio}.h5.


rule crop:
    input:
        video=video_of,
        networks=networks(PARTS["face"]),
    output:
        frames="work/clips/{clip}/frames.h5",
        audio="work/clips/{clip}/audio.wav",
    log:
        "logs/crop/{clip}.log",
    benchmark:
        "benchmarks/crop/{clip}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=HAS_GPU,
    params:
        code=code("pipeline.crop"),
        content=content(video_of),
        flags=flags(DEVICE | {"tracker": PARTS["face"]} | config["crop"]),
    shell:
        """
        python -m pipeline.crop \
            --video {input.video:q} \
            --networks weights \
            --out {output.frames:q} \
            --audio {output.audio:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


rule track_face:
    input:
        frames=rules.crop.output.frames,
        networks=networks(PARTS["face"]),
    output:
        face="work/clips/{clip}/face.h5",
    log:
        "logs/track_face/{clip}.log",
    benchmark:
        "benchmarks/track_face/{clip}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=HAS_GPU,
    params:
        code=code("pipeline.track_face"),
        flags=flags(DEVICE | {"tracker": PARTS["face"]} | config["track_face"]),
    shell:
        """
        python -m pipeline.track_face \
            --frames {input.frames:q} \
            --networks weights \
            --out {output.face:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


rule track_gaze:
    input:
        frames=rules.crop.output.frames,
        face=rules.track_face.output.face,
        networks=networks(PARTS["gaze"]),
    output:
        gaze="work/clips/{clip}/gaze.h5",
    log:
        "logs/track_gaze/{clip}.log",
    benchmark:
        "benchmarks/track_gaze/{clip}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    resources:
        gpu=HAS_GPU,
    params:
        code=code("pipeline.track_gaze"),
        flags=flags(DEVICE | {"tracker": PARTS["gaze"]} | config["track_gaze"]),
    shell:
        """
        python -m pipeline.track_gaze \
            --frames {input.frames:q} \
            --networks weights \
            --face {input.face:q} \
            --out {output.gaze:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


rule encode_audio:
    input:
        audio=rules.crop.output.audio,
        frames=rules.crop.output.frames,
        networks=networks(PARTS["audio"]),
    output:
        audio="work/clips/{clip}/audio.h5",
    log:
        "logs/encode_audio/{clip}.log",
    benchmark:
        "benchmarks/encode_audio/{clip}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.encode_audio"),
        flags=flags({"extractor": PARTS["audio"]}),
    shell:
        """
        python -m pipeline.encode_audio \
            --audio {input.audio:q} \
            --frames {input.frames:q} \
            --networks weights \
            --out {output.audio:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """
