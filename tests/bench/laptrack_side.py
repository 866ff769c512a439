"""The reference of the tracking benchmark, run by an interpreter that has laptrack; see `linking.py`.

Reads one JSON object a line (the npz file of a film, settings), answers with one: CPU seconds, links, memory.
It imports nothing of this project: it needs laptrack and what that brings.
"""

import json
import sys
import time

import laptrack
import numpy as np

for line in sys.stdin:
    asked = json.loads(line)
    with np.load(asked["film"]) as file:
        film = [file[f"arr_{t}"] for t in range(len(file.files))]
    tracker = laptrack.LapTrack(**asked["settings"])
    started = time.process_time()
    tree = tracker.predict(film)
    spent = time.process_time() - started
    edges = [sorted((tuple(map(int, a)), tuple(map(int, b)))) for a, b in tree.edges]
    with open("/proc/self/status") as file:
        peak = next(int(row.split()[1]) / 1000 for row in file if row.startswith("VmHWM:"))
    print(json.dumps({"seconds": spent, "edges": edges, "peak_mb": peak}), flush=True)
