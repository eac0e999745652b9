#!/bin/bash
# Move one VM by the API alone: move-with-curl.sh SOURCE VM TARGET
# VMFERRY_URL and VMFERRY_TOKEN_FILE say where the service is; both have the defaults of `make run`.
set -euo pipefail

url=${VMFERRY_URL:-http://127.0.0.1:8080}/v1
token_file=${VMFERRY_TOKEN_FILE:-var/token}

# The header comes from a file descriptor: an argument would show the token to everyone on this machine.
call() {
    curl --silent --show-error --fail-with-body --config <(printf 'header = "Authorization: Bearer %s"\n' "$(<"$token_file")") "$@"
}

field() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

body=$(python3 -c 'import json, sys; print(json.dumps(dict(zip(("source", "vm", "target"), sys.argv[1:]))))' "$1" "$2" "$3")
id=$(call --json "$body" --header "Idempotency-Key: $(</proc/sys/kernel/random/uuid)" "$url/jobs" | field id)
echo "job $id"

state=queued
until [[ $state =~ ^(succeeded|failed|cancelled|rolled_back|rollback_failed)$ ]]; do
    job=$(call "$url/jobs/$id?wait=20")
    state=$(field state <<<"$job")
    echo "$state $(field phase <<<"$job")"
done
[[ $state == succeeded ]]
