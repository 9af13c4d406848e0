"""Stages `download`, `convert` and `models`: each base model fetched from the hub or converted from
its GGUF file, and put on record; the stand-ins built from their seed."""


# Where the network is: compute jobs are offline.
localrules:
    convert,
    download,
    download_model,
    model_record,
    models,
    shown_model,


rule download:
    input:
        whole_stage("download", "download_model", downloads()),


rule download_model:
    output:
        "results/downloads/{model}.json",
    log:
        "results/logs/downloads/{model}.log",
    conda:
        ENVIRONMENT
    params:
        flags=download_flags,
    shell:
        "diffuselm download --name {wildcards.model} {params.flags} --out {output} > {log} 2>&1"


rule convert:
    input:
        whole_stage("convert", "convert_model", conversions()),


rule convert_model:
    input:
        gguf_file,
    output:
        record="results/converted/{model}.json",
        weights="results/converted/{model}/model.safetensors",
        others=expand("results/converted/{{model}}/{file}", file=CONVERTED_FILES),
    log:
        "results/logs/converted/{model}.log",
    benchmark:
        "results/benchmarks/converted/{model}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=mem_mb,
        runtime=120,
    params:
        folder=subpath(output.weights, parent=True),
        code=fingerprint("model/conversion", "model/gguf_files", "model/gguf_tokenizers"),
    shell:
        "diffuselm convert --name {wildcards.model} --gguf {input:q} --folder {params.folder} "
        "--out {output.record} > {log} 2>&1"


rule models:
    input:
        whole_stage("models", "model_record", model_records()),


rule model_record:
    input:
        model_files,
    output:
        "results/models/{model}.json",
    log:
        "results/logs/models/{model}.log",
    conda:
        ENVIRONMENT
    params:
        flags=model_flags,
    shell:
        "diffuselm model --name {wildcards.model} {params.flags} --out {output} > {log} 2>&1"


rule shown_model:
    output:
        "results/models/{model}.shown.json",
    log:
        "results/logs/models/{model}.shown.log",
    conda:
        ENVIRONMENT
    params:
        flags=shown_flags,
    shell:
        "diffuselm shown --name {wildcards.model} {params.flags} --out {output} > {log} 2>&1"


# What resources/models was made by: `snakemake stand_ins`, then copy the folders.
localrules:
    stand_ins,


rule stand_ins:
    input:
        expand("results/stand-ins/tiny-{family}/config.json", family=["gemma", "llama", "mistral"]),


rule stand_in:
    input:
        tasks=paper_task_files,
        words="resources/stand-in/words.yaml",
    output:
        expand("results/stand-ins/tiny-{{family}}/{file}", file=MODEL_FILES),
    log:
        "results/logs/stand-ins/{family}.log",
    benchmark:
        "results/benchmarks/stand-ins/{family}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        folder=subpath(output[0], parent=True),
        flags=stand_in_flags,
        code=fingerprint("tree", "model", "stand_in"),
    shell:
        "diffuselm stand-in --family {wildcards.family} --words {input.words} "
        "{params.flags} --threads {threads} --out {params.folder} > {log} 2>&1"
