# Reads a portrait and a driver's stores. Makes results/{name}.mp4 and its figures.
# `driven` results take the whole of another clip, `offline` ones too with a portrait that knows the driver's motion,
# `self` results the target's own held-out end.


rule render:
    input:
        portrait=rules.train_stage2.output.portrait,
        frames="work/clips/{driver}/frames.h5",
        face="work/clips/{driver}/face.h5",
        gaze="work/clips/{driver}/gaze.h5",
        audio="work/clips/{driver}/audio.wav",
    output:
        video="work/portraits/{target}/video/driven_by_{driver}.mp4",
    log:
        "logs/render/{target}_driven_by_{driver}.log",
    benchmark:
        "benchmarks/render/{target}_driven_by_{driver}.tsv"
    group:
        "result"
    conda:
        "../../envs/main.yaml"
    threads: 8
    resources:
        gpu=1,
    params:
        code=code("pipeline.render"),
        flags=flags(DEVICE | TRANSFER | WHOLE | RENDER | parts(*SHAPING)),
        configs=config_files,
        sound="",
    shell:
        """
        python -m pipeline.render \
            --portrait {input.portrait:q} \
            --frames {input.frames:q} \
            --face {input.face:q} \
            --gaze {input.gaze:q} \
            --audio {input.audio:q} \
            --out {output.video:q} \
            {params.flags} {params.sound} \
            --config.files {params.configs} \
            2>&1 | tee {log:q}
        """


use rule render as render_self with:
    input:
        portrait=rules.train_stage2.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        audio="work/clips/{target}/audio.wav",
    output:
        video="work/portraits/{target}/video/self.mp4",
    log:
        "logs/render/{target}_self.log",
    benchmark:
        "benchmarks/render/{target}_self.tsv"
    params:
        code=code("pipeline.render"),
        flags=flags(DEVICE | DIRECT | END | RENDER | parts(*SHAPING)),
        configs=config_files,
        sound="",


use rule render as render_offline with:
    input:
        portrait=rules.train_stage2_offline.output.portrait,
        frames="work/clips/{driver}/frames.h5",
        face="work/clips/{driver}/face.h5",
        gaze="work/clips/{driver}/gaze.h5",
        audio="work/clips/{driver}/audio.wav",
    output:
        video="work/portraits/{target}/offline/{driver}/driven.mp4",
    log:
        "logs/render/{target}_driven_by_{driver}_offline.log",
    benchmark:
        "benchmarks/render/{target}_driven_by_{driver}_offline.tsv"
    params:
        code=code("pipeline.render"),
        flags=flags(DEVICE | TRANSFER | WHOLE | RENDER | parts(*SHAPING, "offline")),
        configs=config_files,
        sound="",


rule measure:
    input:
        video=rules.render.output.video,
        frames="work/clips/{driver}/frames.h5",
        face="work/clips/{driver}/face.h5",
        gaze="work/clips/{driver}/gaze.h5",
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
    output:
        metrics="results/{target}_driven_by_{driver}.metrics.json",
        tracked="work/portraits/{target}/video/driven_by_{driver}.face.h5",
    log:
        "logs/measure/{target}_driven_by_{driver}.log",
    benchmark:
        "benchmarks/measure/{target}_driven_by_{driver}.tsv"
    group:
        "result"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | TRANSFER | WHOLE | MEASURES),
        more=given(auxiliary="work/portraits/{target}/video/auxiliary.txt"),
    shell:
        """
        python -m pipeline.measure \
            --video {input.video:q} \
            --driver.frames {input.frames:q} \
            --driver.face {input.face:q} \
            --driver.gaze {input.gaze:q} \
            --target.frames {input.target_frames:q} \
            --target.face {input.target_face:q} \
            --target.gaze {input.target_gaze:q} \
            --networks weights \
            --out {output.metrics:q} \
            --tracked {output.tracked:q} \
            {params.flags} {params.more} \
            2>&1 | tee {log:q}
        """


use rule measure as measure_self with:
    input:
        video=rules.render_self.output.video,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
    output:
        metrics="results/{target}_self.metrics.json",
        tracked="work/portraits/{target}/video/self.face.h5",
    log:
        "logs/measure/{target}_self.log",
    benchmark:
        "benchmarks/measure/{target}_self.tsv"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | DIRECT | END | MEASURES),
        more=given(auxiliary="work/portraits/{target}/video/auxiliary.txt"),


use rule measure as measure_offline with:
    input:
        video=rules.render_offline.output.video,
        frames="work/clips/{driver}/frames.h5",
        face="work/clips/{driver}/face.h5",
        gaze="work/clips/{driver}/gaze.h5",
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
    output:
        metrics="results/{target}_driven_by_{driver}_offline.metrics.json",
        tracked="work/portraits/{target}/offline/{driver}/driven.face.h5",
    log:
        "logs/measure/{target}_driven_by_{driver}_offline.log",
    benchmark:
        "benchmarks/measure/{target}_driven_by_{driver}_offline.tsv"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | TRANSFER | WHOLE | MEASURES),
        more=given(auxiliary="work/portraits/{target}/offline/{driver}/auxiliary.txt"),


rule present:
    input:
        video=rules.render.output.video,
        metrics=rules.measure.output.metrics,
        side_by_side="results/{target}_driven_by_{driver}.side_by_side.mp4",
        frames="work/clips/{driver}/frames.h5",
        audio="work/clips/{driver}/audio.wav",
    output:
        video="results/{target}_driven_by_{driver}.mp4",
    log:
        "logs/present/{target}_driven_by_{driver}.log",
    benchmark:
        "benchmarks/present/{target}_driven_by_{driver}.tsv"
    group:
        "result"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.present"),
        flags=flags(WHOLE | QUALITY | LABEL | parts("render.label")),
        configs=config_files,
    shell:
        """
        python -m pipeline.present \
            --video {input.video:q} \
            --metrics {input.metrics:q} \
            --side-by-side {input.side_by_side:q} \
            --frames {input.frames:q} \
            --audio {input.audio:q} \
            --out {output.video:q} \
            {params.flags} \
            --config.files {params.configs} \
            2>&1 | tee {log:q}
        """


use rule present as present_self with:
    input:
        video=rules.render_self.output.video,
        metrics=rules.measure_self.output.metrics,
        side_by_side="results/{target}_self.side_by_side.mp4",
        frames="work/clips/{target}/frames.h5",
        audio="work/clips/{target}/audio.wav",
    output:
        video="results/{target}_self.mp4",
    log:
        "logs/present/{target}_self.log",
    benchmark:
        "benchmarks/present/{target}_self.tsv"
    params:
        code=code("pipeline.present"),
        flags=flags(END | QUALITY | LABEL | parts("render.label")),
        configs=config_files,


use rule present as present_offline with:
    input:
        video=rules.render_offline.output.video,
        metrics=rules.measure_offline.output.metrics,
        side_by_side="results/{target}_driven_by_{driver}_offline.side_by_side.mp4",
        frames="work/clips/{driver}/frames.h5",
        audio="work/clips/{driver}/audio.wav",
    output:
        video="results/{target}_driven_by_{driver}_offline.mp4",
    log:
        "logs/present/{target}_driven_by_{driver}_offline.log",
    benchmark:
        "benchmarks/present/{target}_driven_by_{driver}_offline.tsv"
    params:
        code=code("pipeline.present"),
        flags=flags(WHOLE | QUALITY | LABEL | parts("render.label")),
        configs=config_files,
