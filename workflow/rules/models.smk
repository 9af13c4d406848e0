"""Stages `download`, `convert` and `models`: each base model fetched from the hub or converted from
its GGUF file, and put on record."""


# Where the network is: compute jobs are offline.
localrules:
    convert,
    download,
    downloads,
    models,
    record,
    show,


rule models:
    input:
        expand("results/models/{model}.json", model=CONFIG.models),


rule downloads:
    input:
        [f"results/downloads/{name}.json" for name in CONFIG.models if CONFIG.models[name].hub],


rule download:
    output:
        "results/downloads/{model}.json",
    log:
        "results/logs/downloads/{model}.log",
    conda:
        ENVIRONMENT
    params:
        flags=of_model("source"),
    shell:
        "diffuselm download --name {wildcards.model} {params.flags} --out {output} > {log} 2>&1"


rule convert:
    input:
        of_model("gguf"),
    output:
        record="results/converted/{model}.json",
        weights="results/converted/{model}/model.safetensors",
        others=expand("results/converted/{{model}}/{file}", file=jobs.CONVERTED),
    log:
        "results/logs/converted/{model}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=of_model("mem_mb"),
        runtime=120,
    params:
        times="results/benchmarks/converted/{model}.tsv",
        folder=subpath(output.weights, parent=True),
        code=fingerprint("model/source"),
    shell:
        "diffuselm convert --name {wildcards.model} --gguf {input:q} --folder {params.folder} "
        "--out {output.record} --times {params.times} > {log} 2>&1"


rule record:
    input:
        of_model("files"),
    output:
        "results/models/{model}.json",
    log:
        "results/logs/models/{model}.log",
    conda:
        ENVIRONMENT
    params:
        flags=of_model("opening"),
        longest=long_targets,
    shell:
        "diffuselm record --name {wildcards.model} {params.flags} {params.longest} --out {output} "
        "> {log} 2>&1"


rule show:
    output:
        "results/models/{model}.shown.json",
    log:
        "results/logs/models/{model}.shown.log",
    conda:
        ENVIRONMENT
    params:
        flags=of_model("showing"),
    shell:
        "diffuselm show --name {wildcards.model} {params.flags} --out {output} > {log} 2>&1"
