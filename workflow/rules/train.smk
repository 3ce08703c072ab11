# Reads the target's stores, for Stage II also the auxiliary clips'. Makes work/portraits/{target}/video/stage{1,2}.pt.
# Checkpoints lie beside the outputs, undeclared: the same command continues an interrupted training. So does
# auxiliary.txt, the names of the clips that lent their motion: Snakemake must not delete what a retraining reads.


rule train_stage1:
    input:
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
    output:
        portrait="work/portraits/{target}/video/stage1.pt",
        history="work/portraits/{target}/video/stage1.losses.tsv",
        preview="work/portraits/{target}/video/stage1.preview.png",
    log:
        "logs/train_stage1/{target}.log",
    benchmark:
        "benchmarks/train_stage1/{target}.tsv"
    conda:
        "../../envs/main.yaml"
    threads: TRAINING_THREADS
    resources:
        gpu=config["processes"],
    params:
        code=code("pipeline.train_stage1"),
        flags=flags(DEVICE | LEARNED | layout("video") | config["train_stage1"]),
        sound="",
    shell:
        """
        python -m pipeline.launch {resources.gpu} pipeline.train_stage1 \
            --frames {input.frames:q} \
            --face {input.face:q} \
            --gaze {input.gaze:q} \
            --out {output.portrait:q} \
            --history {output.history:q} \
            --preview {output.preview:q} \
            {params.flags} {params.sound} \
            2>&1 | tee {log:q}
        """


rule train_stage2:
    input:
        stage1=rules.train_stage1.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        auxiliary_face=auxiliary_stores("face"),
        auxiliary_gaze=auxiliary_stores("gaze"),
        networks=networks(PARTS["face"], PARTS["perceptual"]),
    output:
        portrait="work/portraits/{target}/video/stage2.pt",
        history="work/portraits/{target}/video/stage2.losses.tsv",
        preview="work/portraits/{target}/video/stage2.preview.png",
    log:
        "logs/train_stage2/{target}.log",
    benchmark:
        "benchmarks/train_stage2/{target}.tsv"
    conda:
        "../../envs/main.yaml"
    threads: TRAINING_THREADS
    resources:
        gpu=config["processes"],
    params:
        code=code("pipeline.train_stage2"),
        flags=flags(DEVICE | LEARNED | TRANSFER | PERCEPTION | config["train_stage2"]),
        sound="",
    shell:
        """
        python -m pipeline.launch {resources.gpu} pipeline.train_stage2 \
            --stage1 {input.stage1:q} \
            --frames {input.frames:q} \
            --face {input.face:q} \
            --gaze {input.gaze:q} \
            --auxiliary-face {input.auxiliary_face:q} \
            --auxiliary-gaze {input.auxiliary_gaze:q} \
            --networks weights \
            --out {output.portrait:q} \
            --history {output.history:q} \
            --preview {output.preview:q} \
            {params.flags} {params.sound} \
            2>&1 | tee {log:q}
        """


# The offline version: Stage II again, the driver's motion (never their pictures) among the auxiliary motion.
use rule train_stage2 as train_stage2_offline with:
    input:
        stage1=f"work/portraits/{{target}}/video/{config['offline']['begin']}.pt",
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        auxiliary_face=offline_stores("face"),
        auxiliary_gaze=offline_stores("gaze"),
        networks=networks(PARTS["face"], PARTS["perceptual"]),
    output:
        portrait="work/portraits/{target}/offline/{driver}/stage2.pt",
        history="work/portraits/{target}/offline/{driver}/stage2.losses.tsv",
        preview="work/portraits/{target}/offline/{driver}/stage2.preview.png",
    log:
        "logs/train_stage2/{target}_offline_{driver}.log",
    benchmark:
        "benchmarks/train_stage2/{target}_offline_{driver}.tsv"
    params:
        code=code("pipeline.train_stage2"),
        flags=flags(DEVICE | LEARNED | TRANSFER | PERCEPTION | OFFLINE),
