"""Rows of the dashboard on what it all runs on: GPUs, processes, and batch jobs.

Knows PromQL and our figures. Knows nothing of Grafana's JSON: dashboard.py does.
"""

from k8s.monitoring.panel import ANY, NS, RATE, Panel, Query, rate

GPU_LEGEND = "{{instance}} {{gpu}} {{name}}"
GPU = (
    Panel(
        "GPU memory",
        "In use by whomever, of what there is. A new version needs room beside the old one.",
        (Query(f"modelyard:gpu_memory_used:ratio{{{NS}}}", GPU_LEGEND),),
        "percentunit",
        width=6,
        steps=((0.9, "orange"), (0.95, "red")),
        top=1,
    ),
    Panel(
        "GPU memory in bytes",
        "In use by whomever.",
        (Query(f"modelyard_gpu_memory_used_bytes{{{NS}}}", GPU_LEGEND),),
        "bytes",
        width=6,
    ),
    Panel(
        "GPU busy",
        "Share of the last second in which it computed anything: 1 does not mean that it could do no more.",
        (Query(f"modelyard_gpu_utilisation_ratio{{{NS}}}", GPU_LEGEND),),
        "percentunit",
        width=6,
        top=1,
    ),
    Panel(
        "GPU memory busy",
        "Share of the last second in which its memory was read or written.",
        (Query(f"modelyard_gpu_memory_utilisation_ratio{{{NS}}}", GPU_LEGEND),),
        "percentunit",
        width=6,
        top=1,
    ),
    Panel(
        "GPU power",
        "Drawn, of what it may draw.",
        (
            Query(f"modelyard_gpu_power_watts{{{NS}}}", GPU_LEGEND),
            Query(f"modelyard_gpu_power_limit_watts{{{NS}}}", GPU_LEGEND + " limit"),
        ),
        "watt",
        width=6,
    ),
    Panel(
        "GPU temperature",
        "From about 85 on GPUs slow themselves down.",
        (Query(f"modelyard_gpu_temperature_celsius{{{NS}}}", GPU_LEGEND),),
        "celsius",
        width=6,
        steps=((85, "orange"), (95, "red")),
    ),
    Panel(
        "GPU slowed down",
        "1 while it is, by reason. By power is normal under full load; by heat or hardware is not.",
        (Query(f"modelyard_gpu_throttled{{{NS}}}", GPU_LEGEND + " {{reason}}"),),
        "none",
        width=6,
        top=1,
    ),
    Panel(
        "GPU memory errors",
        "Not corrected, in an hour.",
        (Query(f"increase(modelyard_gpu_ecc_errors_total{{{NS}}}[1h])", GPU_LEGEND),),
        "none",
        width=6,
        steps=ANY,
    ),
)
PROCESS = (
    Panel(
        "Processors in use",
        "Processor seconds a second, supervisor and workers together.",
        (Query(f"sum by (instance) (rate(modelyard_process_cpu_seconds_total{{{NS}}}{RATE}))", "{{instance}}"),),
        "short",
    ),
    Panel(
        "Resident memory",
        "Of all processes of a pod.",
        (Query(f"modelyard_process_resident_memory_bytes{{{NS}}}", "{{instance}}"),),
        "bytes",
    ),
    Panel(
        "Open files",
        "Connections included, of those that a process may have.",
        (Query(f"modelyard_process_open_fds{{{NS}}} / modelyard_process_max_fds{{{NS}}}", "{{instance}}"),),
        "percentunit",
        steps=((0.8, "red"),),
        top=1,
    ),
    Panel(
        "Age",
        "Since the newest process, or worker, was started.",
        (Query(f"time() - modelyard_process_start_time_seconds{{{NS}}}", "{{instance}}"),),
        "s",
    ),
    Panel(
        "Scrapes",
        "How long a scrape takes; it is written on a thread beside the requests.",
        (Query(f'scrape_duration_seconds{{job="modelyard", {NS}}}', "{{instance}}"),),
        "s",
    ),
    Panel(
        "Targets", "1 where a scrape succeeds.", (Query(f'up{{job="modelyard", {NS}}}', "{{instance}}"),), "none", top=1
    ),
)
BATCH = (
    Panel(
        "Scoring: rows",
        "Rows written a second.",
        (Query(rate("pod, model", "modelyard_score_rows_total", NS), "{{pod}} {{model}}"),),
        "ops",
    ),
    Panel(
        "Scoring: done",
        "Share of all rows that is written.",
        (Query(f"modelyard_score_done_ratio{{{NS}}}", "{{pod}} {{model}}"),),
        "percentunit",
        top=1,
    ),
    Panel(
        "Scoring: bad rows",
        "By cause, a second.",
        (Query(rate("model, cause", "modelyard_score_errors_total", NS), "{{model}} {{cause}}"),),
        "ops",
    ),
)
