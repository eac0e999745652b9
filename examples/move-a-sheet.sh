#!/bin/bash
# Move the VMs of a sheet: move-a-sheet.sh SHEET PLAN [option of `plan apply` …]
# VMFERRY_URL and VMFERRY_TOKEN, or VMFERRY_HOME, say which service. Run it again after an interruption: a sheet that
# has not changed changes nothing, a plan that was started is only followed. The exit code is that of `plan watch`:
# 0 all were moved, 8 some, 1 none, 3 the sheet has errors.
set -euo pipefail

sheet=$1 plan=$2
shift 2

vmferry plan apply "$sheet" --plan "$plan" "$@"
state=$(vmferry plan show "$plan" --output json | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')
if [[ $state == draft ]]; then
    vmferry plan start "$plan"
fi
vmferry plan watch "$plan" && code=0 || code=$?
vmferry plan export "$plan" --to "$plan-result.csv"
exit "$code"
