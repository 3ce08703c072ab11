# Reads data/audio/{speech}.* or a clip's own sound. Makes results/{target}_speaks_{speech}.mp4: the target's own footage
# moves the head, the speech the mouth. `_speaks_self` is the held-out end of the target's clip, with its own sound.
# The speech enters as the mouth's motion, read off it, into the portrait that videos drive; or, as in the paper, as a
# vector into a portrait trained with the sound.

BY_MOTION = config["speech"]["enters"] == "motion"
FOOTAGE = config["speech"]["footage"] or "{target}"
SPEAKING = [*SHAPING, "components.audio", "speech", "train_lips"]


wildcard_constraints:
    speech=NAME,


use rule train_stage1 as train_stage1_audio with:
    input:
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        audio="work/clips/{target}/audio.h5",
    output:
        portrait="work/portraits/{target}/audio/stage1.pt",
        history="work/portraits/{target}/audio/stage1.losses.tsv",
        preview="work/portraits/{target}/audio/stage1.preview.png",
    log:
        "logs/train_stage1/{target}_audio.log",
    benchmark:
        "benchmarks/train_stage1/{target}_audio.tsv"
    params:
        code=code("pipeline.train_stage1"),
        flags=flags(DEVICE | LEARNED | layout("audio") | config["train_stage1"]),
        sound=given("audio"),


use rule train_stage2 as train_stage2_audio with:
    input:
        stage1=rules.train_stage1_audio.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        audio="work/clips/{target}/audio.h5",
        auxiliary_face=auxiliary_stores("face", "audio"),
        auxiliary_gaze=auxiliary_stores("gaze", "audio"),
        auxiliary_audio=auxiliary_stores("audio", "audio"),
        networks=networks(PARTS["face"], PARTS["perceptual"]),
    output:
        portrait="work/portraits/{target}/audio/stage2.pt",
        history="work/portraits/{target}/audio/stage2.losses.tsv",
        preview="work/portraits/{target}/audio/stage2.preview.png",
    log:
        "logs/train_stage2/{target}_audio.log",
    benchmark:
        "benchmarks/train_stage2/{target}_audio.tsv"
    params:
        code=code("pipeline.train_stage2"),
        flags=flags(DEVICE | LEARNED | TRANSFER | PERCEPTION | config["train_stage2"]),
        sound=given("audio", "auxiliary_audio"),


rule train_lips:
    input:
        face="work/clips/{target}/face.h5",
        audio="work/clips/{target}/audio.h5",
    output:
        lips="work/portraits/{target}/audio/lips.pt",
        history="work/portraits/{target}/audio/lips.losses.tsv",
    log:
        "logs/train_lips/{target}.log",
    benchmark:
        "benchmarks/train_lips/{target}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.train_lips"),
        flags=flags(DEVICE | HELD_OUT | config["train_lips"]),
    shell:
        """
        python -m pipeline.train_lips \
            --face {input.face:q} \
            --audio {input.audio:q} \
            --out {output.lips:q} \
            --history {output.history:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


rule loop_footage:
    input:
        sound=sound_of,
        frames=f"work/clips/{FOOTAGE}/frames.h5",
        face=f"work/clips/{FOOTAGE}/face.h5",
        gaze=f"work/clips/{FOOTAGE}/gaze.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
    output:
        frames="work/portraits/{target}/audio/speech/{speech}/frames.h5",
        face="work/portraits/{target}/audio/speech/{speech}/face.h5",
        gaze="work/portraits/{target}/audio/speech/{speech}/gaze.h5",
        audio="work/portraits/{target}/audio/speech/{speech}/audio.wav",
    log:
        "logs/loop_footage/{target}_speaks_{speech}.log",
    benchmark:
        "benchmarks/loop_footage/{target}_speaks_{speech}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.loop_footage"),
        content=content(sound_of),
        flags=flags(HELD_OUT | (TRANSFER if config["speech"]["footage"] else DIRECT)),
    shell:
        """
        python -m pipeline.loop_footage \
            --sound {input.sound:q} \
            --frames {input.frames:q} \
            --face {input.face:q} \
            --gaze {input.gaze:q} \
            --target-face {input.target_face:q} \
            --target-gaze {input.target_gaze:q} \
            --out-frames {output.frames:q} \
            --out-face {output.face:q} \
            --out-gaze {output.gaze:q} \
            --out-audio {output.audio:q} \
            {params.flags} \
            2>&1 | tee {log:q}
        """


use rule encode_audio as encode_speech with:
    input:
        audio=rules.loop_footage.output.audio,
        frames=rules.loop_footage.output.frames,
        networks=networks(PARTS["audio"]),
    output:
        audio="work/portraits/{target}/audio/speech/{speech}/audio.h5",
    log:
        "logs/encode_audio/{target}_speaks_{speech}.log",
    benchmark:
        "benchmarks/encode_audio/{target}_speaks_{speech}.tsv"


rule speak:
    input:
        lips=rules.train_lips.output.lips,
        audio=rules.encode_speech.output.audio,
        face=rules.loop_footage.output.face,
    output:
        face="work/portraits/{target}/audio/speech/{speech}/spoken.h5",
    log:
        "logs/speak/{target}_speaks_{speech}.log",
    benchmark:
        "benchmarks/speak/{target}_speaks_{speech}.tsv"
    group:
        "prepare"
    conda:
        "../../envs/main.yaml"
    params:
        code=code("pipeline.speak"),
    shell:
        """
        python -m pipeline.speak \
            --lips {input.lips:q} \
            --audio {input.audio:q} \
            --face {input.face:q} \
            --out {output.face:q} \
            2>&1 | tee {log:q}
        """


use rule speak as speak_self with:
    input:
        lips=rules.train_lips.output.lips,
        audio="work/clips/{target}/audio.h5",
        face="work/clips/{target}/face.h5",
    output:
        face="work/portraits/{target}/audio/self.spoken.h5",
    log:
        "logs/speak/{target}_speaks_self.log",
    benchmark:
        "benchmarks/speak/{target}_speaks_self.tsv"


SPEAKER = rules.train_stage2 if BY_MOTION else rules.train_stage2_audio
SPEAKER_LENDERS = f"work/portraits/{{target}}/{'video' if BY_MOTION else 'audio'}/auxiliary.txt"


use rule render as render_speech with:
    input:
        portrait=SPEAKER.output.portrait,
        frames=rules.loop_footage.output.frames,
        face=rules.speak.output.face if BY_MOTION else rules.loop_footage.output.face,
        gaze=rules.loop_footage.output.gaze,
        audio=rules.loop_footage.output.audio,
        speech=rules.encode_speech.output.audio,
    output:
        video="work/portraits/{target}/audio/speech/{speech}/speech.mp4",
    log:
        "logs/render/{target}_speaks_{speech}.log",
    benchmark:
        "benchmarks/render/{target}_speaks_{speech}.tsv"
    params:
        code=code("pipeline.render"),
        flags=flags(DEVICE | DIRECT | WHOLE | RENDER | parts(*SPEAKING)),
        configs=config_files,
        sound="" if BY_MOTION else given("speech"),


use rule measure as measure_speech with:
    input:
        video=rules.render_speech.output.video,
        frames=rules.loop_footage.output.frames,
        face=rules.loop_footage.output.face,
        gaze=rules.loop_footage.output.gaze,
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
        speech=rules.loop_footage.output.audio,
    output:
        metrics="results/{target}_speaks_{speech}.metrics.json",
        tracked="work/portraits/{target}/audio/speech/{speech}/speech.face.h5",
    log:
        "logs/measure/{target}_speaks_{speech}.log",
    benchmark:
        "benchmarks/measure/{target}_speaks_{speech}.tsv"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | DIRECT | WHOLE | MEASURES),
        more=given("speech", auxiliary=SPEAKER_LENDERS),


use rule present as present_speech with:
    input:
        video=rules.render_speech.output.video,
        metrics=rules.measure_speech.output.metrics,
        side_by_side="results/{target}_speaks_{speech}.side_by_side.mp4",
        frames=rules.loop_footage.output.frames,
        audio=rules.loop_footage.output.audio,
    output:
        video="results/{target}_speaks_{speech}.mp4",
    log:
        "logs/present/{target}_speaks_{speech}.log",
    benchmark:
        "benchmarks/present/{target}_speaks_{speech}.tsv"


use rule render as render_speaks_self with:
    input:
        portrait=SPEAKER.output.portrait,
        frames="work/clips/{target}/frames.h5",
        face=rules.speak_self.output.face if BY_MOTION else "work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        audio="work/clips/{target}/audio.wav",
        speech="work/clips/{target}/audio.h5",
    output:
        video="work/portraits/{target}/audio/self.mp4",
    log:
        "logs/render/{target}_speaks_self.log",
    benchmark:
        "benchmarks/render/{target}_speaks_self.tsv"
    params:
        code=code("pipeline.render"),
        flags=flags(DEVICE | DIRECT | END | RENDER | parts(*SPEAKING)),
        configs=config_files,
        sound="" if BY_MOTION else given("speech"),


use rule measure_self as measure_speaks_self with:
    input:
        video=rules.render_speaks_self.output.video,
        frames="work/clips/{target}/frames.h5",
        face="work/clips/{target}/face.h5",
        gaze="work/clips/{target}/gaze.h5",
        target_frames="work/clips/{target}/frames.h5",
        target_face="work/clips/{target}/face.h5",
        target_gaze="work/clips/{target}/gaze.h5",
        networks=networks(PARTS["face"], PARTS["gaze"]),
        likeness=likeness_networks,
    output:
        metrics="results/{target}_speaks_self.metrics.json",
        tracked="work/portraits/{target}/audio/self.face.h5",
    log:
        "logs/measure/{target}_speaks_self.log",
    benchmark:
        "benchmarks/measure/{target}_speaks_self.tsv"
    params:
        code=code("pipeline.measure"),
        flags=flags(DEVICE | DIRECT | END | MEASURES),
        more=given(auxiliary=SPEAKER_LENDERS),


use rule present_self as present_speaks_self with:
    input:
        video=rules.render_speaks_self.output.video,
        metrics=rules.measure_speaks_self.output.metrics,
        side_by_side="results/{target}_speaks_self.side_by_side.mp4",
        frames="work/clips/{target}/frames.h5",
        audio="work/clips/{target}/audio.wav",
    output:
        video="results/{target}_speaks_self.mp4",
    log:
        "logs/present/{target}_speaks_self.log",
    benchmark:
        "benchmarks/present/{target}_speaks_self.tsv"
