# Reads the clips in data/videos and their results. Makes every target driven by every other clip, and results/grid.mp4.


rule contact:
    input:
        frames=grid_clips,
        videos=grid_results,
    output:
        video="results/grid.mp4",
    log:
        "logs/contact/all.log",
    benchmark:
        "benchmarks/contact/all.tsv"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.contact"),
        flags=flags(QUALITY | parts("render.quality")),
        configs=config_files,
    shell:
        """
        python -m pipeline.contact \
            --frames {input.frames:q} \
            --videos {input.videos:q} \
            --out {output.video:q} \
            {params.flags} \
            --config.files {params.configs} \
            2>&1 | tee {log:q}
        """


rule grid:
    input:
        rules.contact.output.video,
