"""What came of the experiments, as a table for people, as JSON, and as the page in docs."""
import collections
import dataclasses
import json

COLUMNS = ("ENOSPC", "EIO", "ENOMEM", "EMFILE", "EINTR", "kill", "stop")
FINDINGS = ("finding", "known")


class Cell:
    def __init__(self):
        self.steps, self.tried, self.findings, self.missed = set(), 0, 0, 0

    def add(self, step, outcome):
        if outcome == "missed":
            self.missed += 1
            return
        self.steps.add(step)
        self.tried += 1
        self.findings += outcome in FINDINGS

    def __str__(self):
        if not self.tried:
            return "-"
        return f"{self.tried}" if not self.findings else f"{self.tried} ({self.findings}!)"


def cells(results, key):
    """key(task) -> fault -> Cell, in the order of the results."""
    rows = collections.defaultdict(lambda: collections.defaultdict(Cell))
    for task, result in results:
        rows[key(task)][task.fault].add(task.step, result.outcome)
    return rows


def _findings(results):
    """One line for each step and fault, with what was wrong."""
    found = collections.defaultdict(list)
    for task, result in results:
        if result.outcome in FINDINGS:
            found[task.call, task.step, task.fault].append(result)
    for (call, step, fault), them in sorted(found.items()):
        problems = "; ".join(dict.fromkeys(p for r in them for p in r.problems))
        known = f" (known: {them[0].answer})" if them[0].outcome == "known" else ""
        yield f"{call}: {fault} at {step.program} {step.file}:{step.line}: {problems}{known}"


def as_text(results):
    lines = [f"{'call and file':64}" + "".join(f"{c:>9}" for c in COLUMNS)]
    call = None
    for (name, program, file), row in sorted(cells(results, lambda t: (t.call, t.step.program, t.step.file)).items()):
        if name != call:
            call = name
            lines.append(call)
        lines.append(f"  {program + ' ' + file:62}" + "".join(f"{str(row[c]):>9}" for c in COLUMNS))
    return "\n".join(lines)


def as_json(options, results):
    return json.dumps({"seed": options.seed, "results": [
        {"call": t.call, **dataclasses.asdict(t.step), "fault": t.fault, "pass": t.skip + 1, "outcome": r.outcome, "answer": r.answer,
         "problems": r.problems, "milliseconds": r.ms} for t, r in results]}, indent=1)


def as_markdown(results):
    rows = cells(results, lambda t: t.call)
    steps = {call: len({s for cell in row.values() for s in cell.steps}) for call, row in rows.items()}
    total = sum(cell.tried for row in rows.values() for cell in row.values())
    all_steps = len({s for row in rows.values() for cell in row.values() for s in cell.steps})
    yield "# Fail points and faults"
    yield ""
    yield "Written by `./dev fault steps --markdown`. Each call of the CRI's lifecycle, and the daemon's start on two pods that run, was made"
    yield "once for each fail point that it passes (docs/design/0043-fault-harness.md), in the daemon and in the pod's shim, and each fault, at the"
    yield "first, a middle and the last time that the point is passed. A number says in how many experiments the fault was met; what came out"
    yield "otherwise than it has to is counted in parentheses and listed below."
    yield ""
    yield f"{all_steps} fail points, {total} experiments, {sum(c.findings for row in rows.values() for c in row.values())} findings."
    yield ""
    yield "| call | fail points | " + " | ".join(COLUMNS) + " |"
    yield "|---|" + "--:|" * (len(COLUMNS) + 1)
    for call, row in rows.items():
        yield f"| {call} | {steps[call]} | " + " | ".join(str(row[c]) for c in COLUMNS) + " |"
    yield ""
    yield "## Findings"
    yield ""
    yield from [f"* {line}" for line in _findings(results)] or ["None."]


def report(options, results, top):
    """Prints it; the exit status."""
    findings = sum(r.outcome == "finding" for _, r in results)
    missed = sum(r.outcome == "missed" for _, r in results)
    known = sum(r.outcome == "known" for _, r in results)
    if options.output == "json":
        print(as_json(options, results))
    else:
        print(as_text(results))
        for line in _findings(results):
            print(f"finding: {line}")
        print(f"{missed} experiments did not pass their step; {known} had a finding that is known")
        print(f"{len(results) - findings - missed - known} passed, {findings} failed")
    if options.markdown:
        (top / "docs/fault-table.md").write_text("\n".join(as_markdown(results)) + "\n", encoding="utf-8")
    return 1 if findings or len(results) == missed else 0
