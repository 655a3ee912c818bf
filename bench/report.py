#!/usr/bin/env python3
"""Turns what bench/run.sh measured into tables, and into one JSON file with everything raw.

usage: report.py WORK [--out DIR]

WORK/facts.tsv holds one fact a line (name, tab, value); WORK/raw/REPEAT/JOB/KEY.json what fio or
rram-metadata printed, KEY.cpu the microseconds of CPU that the requester and its providers used
meanwhile, KEY.failed why there is no figure. A KEY is a candidate, with '@' and the front end if
it has one.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import platform
import statistics
import sys

CANDIDATES = ["tmpfs", "null", "local", "shm", "tcp", "tcp2", "spike"]

# The ratios that are shown: of what to what.
RATIOS = [
    ("null", "tmpfs"), ("local", "tmpfs"), ("shm", "tmpfs"), ("tcp", "tmpfs"),
    ("local", "null"), ("shm", "null"), ("tcp", "null"), ("tcp2", "null"),
    ("tcp", "spike"),
]

# What has to hold: of what, to what, in which jobs, at least.
FLOORS = [
    ("local", "null", ["*.rand*.4k.d1", "buffered.rand*.4k"], 0.5),
    ("shm", "null", ["*.rand*.4k.d1", "buffered.rand*.4k"], 0.5),
    ("local", "null", ["direct.*.1m.*", "buffered.read.1m", "buffered.write.1m"], 0.4),
    ("shm", "null", ["direct.*.1m.*", "buffered.read.1m", "buffered.write.1m"], 0.4),
    ("tcp", "spike", ["*"], 0.7),
]

METADATA_PHASES = ["create", "stat", "unlink"]


class Figures:
    """What was measured: rows -> keys -> one value a repeat (None where it failed)."""

    def __init__(self, work, facts):
        self.facts = facts
        self.keys = facts["keys"].split()
        self.repeats = int(facts["repeats"])
        self.values = {}  # row -> key -> [value]
        self.cpu_us = {}  # job -> key -> [(requester, providers)], for one request
        self.latency_us = {}  # job -> key -> [(median, 99th percentile)]
        self.raw = []
        for job in facts["jobs"].split():
            for repeat in range(1, self.repeats + 1):
                for key in self.keys:
                    self._take(work, job, repeat, key)

    def _take(self, work, job, repeat, key):
        base = work / "raw" / str(repeat) / job / key
        entry = {"job": job, "repeat": repeat, "key": key}
        if (failed := base.with_name(base.name + ".failed")).exists():
            entry["failed"] = failed.read_text().strip()
        elif (result := base.with_name(base.name + ".json")).exists():
            entry["result"] = read_result(result)
            requester_us, providers_us = base.with_name(base.name + ".cpu").read_text().split()
            entry["requester_cpu_us"] = int(requester_us)
            entry["providers_cpu_us"] = int(providers_us)
        else:
            return
        self.raw.append(entry)
        self._add(entry)

    def _add(self, entry):
        job, key, result = entry["job"], entry["key"], entry.get("result")
        if job.startswith("metadata."):
            for phase in METADATA_PHASES:
                row = job.replace("metadata.", f"metadata.{phase}.")
                self._append(row, key, result and result[f"{phase}_per_second"])
            return
        side = result and busy_side(result)
        if side is None:
            self._append(job, key, None)
            return
        megabytes = ".1m" in job
        self._append(job, key, side["bw_bytes"] / 2**20 if megabytes else side["iops"])
        cpu = [entry[name] / side["total_ios"]
               for name in ("requester_cpu_us", "providers_cpu_us")]
        self.cpu_us.setdefault(job, {}).setdefault(key, []).append(cpu)
        percentiles = side["clat_ns"].get("percentile")
        if percentiles:
            latency = [percentiles[name] / 1000 for name in ("50.000000", "99.000000")]
            self.latency_us.setdefault(job, {}).setdefault(key, []).append(latency)

    def _append(self, row, key, value):
        self.values.setdefault(row, {}).setdefault(key, []).append(value)

    def rows(self):
        """In the order of the jobs, the phases of metadata together."""
        return sorted(self.values, key=lambda row: row.startswith("metadata.create") * 1
                      + row.startswith("metadata.stat") * 2
                      + row.startswith("metadata.unlink") * 3)

    def good(self, row, key):
        return [value for value in self.values[row].get(key, []) if value]

    def ratios(self, row, key, base):
        """One for each repeat in which both were measured: what drifts meanwhile cancels out."""
        pairs = zip(self.values[row].get(key, []), self.values[row].get(base, []))
        return [value / of for value, of in pairs if value and of]


def read_result(path):
    """What fio or rram-metadata printed; fio may print complaints before it."""
    text = path.read_text()
    return json.loads(text[text.index("{"):])


def busy_side(result):
    """The direction of fio's only job in which anything was done."""
    job = result["jobs"][0]
    sides = [job[name] for name in ("read", "write") if job[name]["total_ios"] > 0]
    return sides[0] if sides and job["error"] == 0 else None


def spread(values):
    """Largest less smallest, over the median."""
    return (max(values) - min(values)) / statistics.median(values)


def unit_of(row):
    if ".1m" in row:
        return "MiB/s"
    return "files/s" if row.startswith("metadata.") else "req/s"


def number(value):
    """Three significant digits, with K for thousands."""
    if value >= 9999.5:
        return f"{value / 1000:.0f}K" if value >= 99950 else f"{value / 1000:.1f}K"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cell(values, tried):
    if not values:
        return "failed" if tried else "-"
    text = number(statistics.median(values))
    return text if len(values) < 2 else f"{text} ±{spread(values) * 50:.0f}%"


def table(title, header, rows):
    """A list of lines: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = ["", title]
    for line in [header, *rows]:
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return lines


def key_of(candidate, front):
    return candidate if candidate in ("tmpfs", "spike") else f"{candidate}@{front}"


def keys_for(figures, front):
    keys = [(name, key_of(name, front)) for name in CANDIDATES]
    return [(name, key) for name, key in keys if key in figures.keys]


def absolute_table(figures, front):
    keys = keys_for(figures, front)
    lines = []
    for row in figures.rows():
        cells = [cell(figures.good(row, key), key in figures.values[row]) for _, key in keys]
        lines.append([row, unit_of(row), *cells])
    return table(f"front end {front}: median{' and half the spread' * (figures.repeats > 1)}",
                 ["job", "unit", *(name for name, _ in keys)], lines)


def ratio_table(figures, front):
    names = dict(keys_for(figures, front))
    shown = [(top, base) for top, base in RATIOS if top in names and base in names]
    lines = []
    for row in figures.rows():
        medians = [figures.ratios(row, names[top], names[base]) for top, base in shown]
        lines.append([row, *(f"{statistics.median(each):.2f}" if each else "-"
                             for each in medians)])
    if not shown:
        return []
    return table(f"front end {front}: ratios", ["job", *("/".join(pair) for pair in shown)], lines)


def pair_table(title, pairs, keys, sign):
    """Two figures a cell: pairs is job -> key -> one pair for each repeat."""
    lines = []
    for job, of_keys in pairs.items():
        cells = []
        for _, key in keys:
            medians = [statistics.median(each) for each in zip(*of_keys.get(key, []))]
            cells.append(f" {sign} ".join(number(each) for each in medians if each) or "-")
        lines.append([job, *cells])
    return table(title, ["job", *(name for name, _ in keys)], lines) if lines and keys else []


def cpu_table(figures, front):
    """Where the time goes."""
    keys = [(name, key) for name, key in keys_for(figures, front) if name != "tmpfs"]
    return pair_table(f"front end {front}: CPU µs of requester + providers for one request",
                      figures.cpu_us, keys, "+")


def latency_table(figures, front):
    """Of jobs with one request in flight: less disturbed by a busy host than the rate is."""
    single = {job: pairs for job, pairs in figures.latency_us.items()
              if job.endswith(".d1") or job.startswith("buffered.rand")}
    return pair_table(f"front end {front}: latency in µs, median / 99th percentile",
                      single, keys_for(figures, front), "/")


def check_floors(figures, front):
    """One entry for each floor and job that both sides have."""
    checked = []
    for top, base, patterns, floor in FLOORS:
        if base == "spike" and front != "io_uring":
            continue  # it has no other front end
        for row in figures.rows():
            if not any(fnmatch.fnmatch(row, pattern) for pattern in patterns):
                continue
            keys = key_of(top, front), key_of(base, front)
            if any(key not in figures.values[row] for key in keys):
                continue
            ratios = figures.ratios(row, *keys)
            median = statistics.median(ratios) if ratios else 0.0
            checked.append({"front_end": front, "of": top, "to": base, "job": row, "floor": floor,
                            "ratios": ratios, "median": median, "passed": median >= floor})
    return checked


def floor_table(floors):
    lines = []
    for each in floors:
        note = ""
        # The repeats do not agree on which side of the floor it is.
        if each["ratios"] and min(each["ratios"]) < each["floor"] <= max(each["ratios"]):
            note = f"({min(each['ratios']):.2f}-{max(each['ratios']):.2f})"
        verdict = "PASS" if each["passed"] else "FAIL"
        lines.append([f"{each['of']} to {each['to']}: {each['job']}", f">= {each['floor']}",
                      f"{each['median']:.2f}", verdict, note])
    if not lines:
        return []
    missed = sum(not each["passed"] for each in floors)
    return table(f"front end {floors[0]['front_end']}: floors, {len(floors) - missed} passed, "
                 f"{missed} failed", ["ratio", "floor", "here", "", "repeats"], lines)


def host_facts():
    cpus = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
            if line.startswith("model name")]
    memory = open("/proc/meminfo", encoding="utf-8").readline().split()
    return {"kernel": platform.release(), "cpu_count": os.cpu_count(),
            "cpu_model": cpus[0] if cpus else platform.machine(),
            "memory_mib": int(memory[1]) // 1024}


def heading(facts):
    return [
        f"{facts['date']}  revision {facts['revision']}  {facts['fio']}, {facts['engine']}",
        f"{facts['cpu_count']} CPUs ({facts['cpu_model']}), {facts['memory_mib']} MiB, "
        f"Linux {facts['kernel']}",
        f"guest_halt_poll_ns {facts['halt_poll_ns']}; load average {facts['load_before']} before, "
        f"{facts['load_after']} after",
        f"{facts['seconds']} s a job, {facts['repeats']} repeats, file of {facts['file_mib']} MiB"
        + (f", rramfs -o {facts['rramfs_options']}" if facts["rramfs_options"] else ""),
    ]


def read_facts(work):
    lines = (work / "facts.tsv").read_text().splitlines()
    return {**dict(line.split("\t", 1) for line in lines), **host_facts()}


def write_out(out, facts, lines, figures, floors):
    out.mkdir(parents=True, exist_ok=True)
    stamp = facts["date"].replace("-", "").replace(":", "")
    base = out / f"bench-{stamp}-{facts['revision']}"
    base.with_name(base.name + ".txt").write_text("\n".join(lines) + "\n")
    everything = {"facts": facts, "values": figures.values, "floors": floors, "raw": figures.raw}
    base.with_name(base.name + ".json").write_text(json.dumps(everything, indent=1) + "\n")
    print(f"\nalso in {base}.txt and .json", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description="tables and JSON of a run of bench/run.sh")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    facts = read_facts(arguments.work)
    figures = Figures(arguments.work, facts)
    lines = heading(facts)
    all_floors = []
    for front in facts["front_ends"].split():
        floors = check_floors(figures, front)
        all_floors += floors
        for part in (absolute_table(figures, front), ratio_table(figures, front),
                     latency_table(figures, front), cpu_table(figures, front),
                     floor_table(floors)):
            lines += part
    print("\n".join(lines))
    if arguments.out:
        write_out(arguments.out, facts, lines, figures, all_floors)


if __name__ == "__main__":
    main()
