# Reads a portrait, its footage and some drivers' stores. Makes results/{target}.onnx and .fp16.onnx, the portrait as one
# file; results/tracker/*.onnx, the face tracker likewise; and results/{target}.html, the page that runs them in a browser.


rule fetch_browser_runtime:
    output:
        runtime=update("weights/onnxruntime-web.tgz"),
    log:
        "logs/fetch_browser_runtime/all.log",
    benchmark:
        "benchmarks/fetch_browser_runtime/all.tsv"
    localrule: True
    conda:
        "../../envs/main.yaml"
    shell:
        """
        python -m pipeline.fetch_browser_runtime \
            --out {output.runtime:q} \
            2>&1 | tee {log:q}
        """


rule export_portrait:
    input:
        portrait=rules.train_stage2.output.portrait,
        driver_face=page_files("face.h5"),
        driver_gaze=page_files("gaze.h5"),
    output:
        file="results/{target}.onnx",
    log:
        "logs/export_portrait/{target}.log",
    benchmark:
        "benchmarks/export_portrait/{target}.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.export_portrait"),
        flags=flags(TRANSFER | {"precision": "full"}),
    shell:
        """
        python -m pipeline.export_portrait \
            --portrait {input.portrait:q} \
            --driver-face {input.driver_face:q} \
            --driver-gaze {input.driver_gaze:q} \
            --out {output.file:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


use rule export_portrait as export_half_portrait with:
    output:
        file="results/{target}.fp16.onnx",
    log:
        "logs/export_portrait/{target}.fp16.log",
    benchmark:
        "benchmarks/export_portrait/{target}.fp16.tsv"
    params:
        code=code("pipeline.export_portrait"),
        flags=flags(TRANSFER | {"precision": "half"}),


rule export_tracker:
    input:
        networks=networks("mediapipe"),
    output:
        find_face="results/tracker/find_face.onnx",
        read_face="results/tracker/read_face.onnx",
        fit_neutral="results/tracker/fit_neutral.onnx",
    log:
        "logs/export_tracker/all.log",
    benchmark:
        "benchmarks/export_tracker/all.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.export_tracker"),
    shell:
        """
        python -m pipeline.export_tracker \
            --networks weights \
            --find-face {output.find_face:q} \
            --read-face {output.read_face:q} \
            --fit-neutral {output.fit_neutral:q} \
            2>&1 | tee {log:q}
        """


rule make_page:
    input:
        portrait=rules.export_portrait.output.file,
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        driver_frames=page_files("frames.h5"),
        driver_face=page_files("face.h5"),
        driver_gaze=page_files("gaze.h5"),
        driver_audio=page_files("audio.wav"),
        runtime=rules.fetch_browser_runtime.output.runtime,
        tracker=rules.export_tracker.output if PARTS["face"] == "mediapipe" else [],
        source=[f"pipeline/page/{file}" for file in ("index.html", "style.css", "engine.js", "motion.js", "app.js")],
    output:
        page="results/{target}.html",
    log:
        "logs/make_page/{target}.log",
    benchmark:
        "benchmarks/make_page/{target}.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.make_page"),
        flags=flags(TRANSFER | LABEL | PAGE),
    shell:
        """
        python -m pipeline.make_page \
            --name={wildcards.target:q} \
            --portrait {input.portrait:q} \
            --face {input.face:q} \
            --gaze {input.gaze:q} \
            --driver-frames {input.driver_frames:q} \
            --driver-face {input.driver_face:q} \
            --driver-gaze {input.driver_gaze:q} \
            --driver-audio {input.driver_audio:q} \
            --runtime {input.runtime:q} \
            --tracker {input.tracker:q} \
            --out {output.page:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """
