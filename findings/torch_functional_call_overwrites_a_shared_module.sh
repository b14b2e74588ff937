#!/usr/bin/env bash
# torch 2.13.0: torch.func.functional_call promises to put a module's own parameters back. Of a module that stands in its parent
# under two names (a head that is shared between scales) it does not: after the call the weights are the tensors that were
# passed in, plain tensors and no parameters, and the model gives other results from then on. Nothing is raised or warned.
# Two modules that share their parameters, and not themselves, are put back.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy
"$folder/env/bin/python" - <<'PYTHON'
import sys
import torch
from torch import nn

def after_a_call(module):
    x = torch.ones(1, 2)
    before = module(x)
    zeros = {name: torch.zeros_like(one) for name, one in module.named_parameters()}
    inside = torch.func.functional_call(module, zeros, x)
    assert (inside == 0).all()  # the call itself is right
    return torch.equal(module(x), before), type(module[0].weight).__name__

torch.manual_seed(0)
shared = nn.Linear(2, 2)
one_module = after_a_call(nn.Sequential(shared, shared))
tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
tied[1].weight, tied[1].bias = tied[0].weight, tied[0].bias
two_modules = after_a_call(tied)
print("one module under two names: as before", *one_module)
print("two modules, tied parameters: as before", *two_modules)
sys.exit(not (one_module == (False, "Tensor") and two_modules == (True, "Parameter")))
PYTHON
echo "as described"
