# Reads the clips' stores, finished results, and other systems' videos, data/foreign/{method}/{result}.mp4.
# Makes the paper's tables, results/tables/*. A row of a table is work/tables/{result}/{row}/: portrait, video, figures.
# Its portrait never learned the driver's motion, the offline one apart.


wildcard_constraints:
    table=r"[1-5]",
    kind=r"self|speaks_self",
    method="|".join(map(re.escape, FOREIGN)) or "none",
    row=ROW,
    variant=rf"full|auxiliary_[1-9]|without_({'|'.join(LOSSES)})",


# DNP, the paper's baseline: transposed convolutions, Stage I alone.
use rule train_stage1 as train_dnp with:
    output:
        portrait="work/portraits/{target}/dnp/stage1.pt",
        history="work/portraits/{target}/dnp/stage1.losses.tsv",
        preview="work/portraits/{target}/dnp/stage1.preview.png",
    log:
        "logs/train_stage1/{target}_dnp.log",
    benchmark:
        "benchmarks/train_stage1/{target}_dnp.tsv"
    params:
        code=code("pipeline.train_stage1"),
        flags=flags(DEVICE | LEARNED | layout("video", upsampling="transposed") | config["train_stage1"]),
        sound="",


use rule train_stage1_audio as train_dnp_audio with:
    output:
        portrait="work/portraits/{target}/dnp_audio/stage1.pt",
        history="work/portraits/{target}/dnp_audio/stage1.losses.tsv",
        preview="work/portraits/{target}/dnp_audio/stage1.preview.png",
    log:
        "logs/train_stage1/{target}_dnp_audio.log",
    benchmark:
        "benchmarks/train_stage1/{target}_dnp_audio.tsv"
    params:
        code=code("pipeline.train_stage1"),
        flags=flags(DEVICE | LEARNED | layout("audio", upsampling="transposed") | config["train_stage1"]),
        sound=given("audio"),


use rule train_stage2 as train_variant with:
    input:
        stage1=rules.train_stage1.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        auxiliary_face=variant_stores("face"),
        auxiliary_gaze=variant_stores("gaze"),
        networks=networks(PARTS["face"], PARTS["perceptual"]),
    output:
        portrait="work/tables/{target}_driven_by_{driver}/{variant}/stage2.pt",
        history="work/tables/{target}_driven_by_{driver}/{variant}/stage2.losses.tsv",
        preview="work/tables/{target}_driven_by_{driver}/{variant}/stage2.preview.png",
    log:
        "logs/train_stage2/{target}_driven_by_{driver}_{variant}.log",
    benchmark:
        "benchmarks/train_stage2/{target}_driven_by_{driver}_{variant}.tsv"
    params:
        code=code("pipeline.train_stage2"),
        flags=variant_flags,
        sound="",


use rule train_variant as train_variant_offline with:
    input:
        stage1=FULL if config["offline"]["begin"] == "stage2" else STAGE1,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        auxiliary_face=variant_offline_stores("face"),
        auxiliary_gaze=variant_offline_stores("gaze"),
        networks=networks(PARTS["face"], PARTS["perceptual"]),
    output:
        portrait="work/tables/{target}_driven_by_{driver}/offline/stage2.pt",
        history="work/tables/{target}_driven_by_{driver}/offline/stage2.losses.tsv",
        preview="work/tables/{target}_driven_by_{driver}/offline/stage2.preview.png",
    log:
        "logs/train_stage2/{target}_driven_by_{driver}_tables_offline.log",
    benchmark:
        "benchmarks/train_stage2/{target}_driven_by_{driver}_tables_offline.tsv"
    params:
        code=code("pipeline.train_stage2"),
        flags=flags(DEVICE | LEARNED | TRANSFER | PERCEPTION | OFFLINE),
        sound="",


use rule render as render_row with:
    input:
        portrait=row_portrait,
        frames="work/clips/{driver}/frames.h5",
        face="work/clips/{driver}/face.h5",
        gaze="work/clips/{driver}/gaze.h5",
        audio="work/clips/{driver}/audio.wav",
    output:
        video="work/tables/{target}_driven_by_{driver}/{row}/video.mp4",
    log:
        "logs/render/{target}_driven_by_{driver}_{row}.log",
    benchmark:
        "benchmarks/render/{target}_driven_by_{driver}_{row}.tsv"


use rule render_self as render_dnp_self with:
    input:
        portrait=rules.train_dnp.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        audio="work/clips/{target}/audio.wav",
    output:
        video="work/tables/{target}_self/dnp/video.mp4",
    log:
        "logs/render/{target}_self_dnp.log",
    benchmark:
        "benchmarks/render/{target}_self_dnp.tsv"


use rule render_self as render_dnp_speaks_self with:
    input:
        portrait=rules.train_dnp_audio.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        audio="work/clips/{target}/audio.wav",
        speech="work/clips/{target}/audio.h5",
    output:
        video="work/tables/{target}_speaks_self/dnp/video.mp4",
    log:
        "logs/render/{target}_speaks_self_dnp.log",
    benchmark:
        "benchmarks/render/{target}_speaks_self_dnp.tsv"
    params:
        code=code("pipeline.render"),
        flags=flags(DEVICE | DIRECT | END | RENDER | parts(*SHAPING, "components.audio")),
        configs=config_files,
        sound=given("speech"),


# Another system's video becomes a row of its own.
rule adopt:
    input:
        video="data/foreign/{method}/{result}.mp4",
    output:
        video="work/tables/{result}/{method}/video.mp4",
    log:
        "logs/adopt/{result}_{method}.log",
    group:
        "result"
    conda:
        "../../envs/main.yaml"
    shell:
        """
        cp {input.video:q} {output.video:q} 2>{log:q}
        """


use rule measure as measure_row with:
    input:
        video="work/tables/{target}_driven_by_{driver}/{row}/video.mp4",
        frames="work/clips/{driver}/frames.h5",
        face="work/clips/{driver}/face.h5",
        gaze="work/clips/{driver}/gaze.h5",
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
    output:
        metrics="work/tables/{target}_driven_by_{driver}/{row}/metrics.json",
        tracked="work/tables/{target}_driven_by_{driver}/{row}/face.h5",
    log:
        "logs/measure/{target}_driven_by_{driver}_{row}.log",
    benchmark:
        "benchmarks/measure/{target}_driven_by_{driver}_{row}.tsv"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | TRANSFER | WHOLE | MEASURES),
        more="",


use rule measure as measure_row_self with:
    input:
        video="work/tables/{target}_{kind}/{row}/video.mp4",
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
    output:
        metrics="work/tables/{target}_{kind}/{row}/metrics.json",
        tracked="work/tables/{target}_{kind}/{row}/face.h5",
    log:
        "logs/measure/{target}_{kind}_{row}.log",
    benchmark:
        "benchmarks/measure/{target}_{kind}_{row}.tsv"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | DIRECT | END | MEASURES),
        more="",


rule tabulate:
    input:
        metrics=row_files("results/{result}.metrics.json", "work/tables/{result}/{row}/metrics.json"),
        videos=row_files("results/{result}.mp4", "work/tables/{result}/{row}/video.mp4"),
        drivers=row_drivers,
    output:
        csv="results/tables/table_{table}.csv",
        markdown="results/tables/table_{table}.md",
        picture="results/tables/table_{table}.png",
    log:
        "logs/tabulate/{table}.log",
    benchmark:
        "benchmarks/tabulate/{table}.tsv"
    group:
        "tables"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.tabulate"),
        rows=lambda wildcards: [f"./{row}" for row in table_rows(wildcards.table)],  # a name may begin with "-"
    shell:
        """
        python -m pipeline.tabulate \
            --table {wildcards.table:q} \
            --rows {params.rows:q} \
            --metrics {input.metrics:q} \
            --videos {input.videos:q} \
            --drivers {input.drivers:q} \
            --csv {output.csv:q} \
            --markdown {output.markdown:q} \
            --picture {output.picture:q} \
            2>&1 | tee {log:q}
        """


# Table 7: the generator's speed on this machine.
rule time_generator:
    output:
        csv="results/tables/table_7.csv",
        markdown="results/tables/table_7.md",
        picture="results/tables/table_7.png",
    log:
        "logs/time_generator/all.log",
    benchmark:
        "benchmarks/time_generator/all.tsv"
    conda:
        "../../envs/main.yaml"
    threads: 8
    resources:
        gpu=1,
    params:
        code=code("pipeline.time_generator"),
        flags=flags(DEVICE | layout("video")),
    shell:
        """
        python -m pipeline.time_generator \
            --csv {output.csv:q} \
            --markdown {output.markdown:q} \
            --picture {output.picture:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


# Figure 9: the motion seen in results of Stage I and Stage II, beside the target's own.
rule map_motion:
    input:
        face=f"work/clips/{table_pairs()[0].split('_driven_by_')[0]}/face.h5",
        stage1=f"work/tables/{table_pairs()[0]}/stage1/face.h5",
        stage2=f"work/tables/{table_pairs()[0]}/full/face.h5",
    output:
        csv="results/tables/figure_9.csv",
        picture="results/tables/figure_9.png",
    log:
        "logs/map_motion/all.log",
    benchmark:
        "benchmarks/map_motion/all.tsv"
    group:
        "tables"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.map_motion"),
        flags=flags(HELD_OUT),
    shell:
        """
        python -m pipeline.map_motion \
            --face {input.face:q} \
            --stage1 {input.stage1:q} \
            --stage2 {input.stage2:q} \
            --csv {output.csv:q} \
            --picture {output.picture:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


rule tables:
    input:
        expand("results/tables/table_{table}.md", table=[1, 2, 3, 4, 5, 7]),
        rules.map_motion.output.picture,
