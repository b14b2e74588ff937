#!/usr/bin/env bash
# torchmetrics 1.9.0: a MetricCollection compares the states of its metrics after the first batch, and has those that look
# alike count as one from then on. What a metric does to labels before it counts is no state: two JaccardIndex, one of
# which ignores class 2, are merged if the first batch has no class 2. The one that ignores then scores 0.875, alone 1.0.
# Nothing warns. One would expect a metric in a collection to score as it does alone.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 torchmetrics==1.9.0
"$folder/env/bin/python" - <<'PYTHON'
import sys
import torch
from torchmetrics import JaccardIndex, MetricCollection

ones = torch.ones(1, 2, 2, dtype=torch.long)
later = torch.tensor([[[1, 1], [2, 0]]]), torch.tensor([[[1, 2], [2, 0]]])
def made():
    common = {"task": "multiclass", "num_classes": 3}
    return {"all": JaccardIndex(**common), "without 2": JaccardIndex(**common, ignore_index=2)}
collection, alone = MetricCollection(made()), made()
for batch in ((ones, ones), later, later):
    collection.update(*batch)
    for metric in alone.values():
        metric.update(*batch)
together = {name: round(float(value), 4) for name, value in collection.compute().items()}
single = {name: round(float(metric.compute()), 4) for name, metric in alone.items()}
print("in a collection", together, collection.compute_groups)
print("each alone     ", single)
as_seen = together == {"all": 0.75, "without 2": 0.875} and single == {"all": 0.75, "without 2": 1.0}
sys.exit(not (as_seen and len(collection.compute_groups) == 1))
PYTHON
echo "as described: the metric that ignores class 2 scores 0.875 in a collection and 1.0 alone"
