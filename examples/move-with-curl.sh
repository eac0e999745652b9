#!/bin/bash
# Move one VM by the API alone: move-with-curl.sh SOURCE VM TARGET [cold|disk_only]
# VMFERRY_URL and VMFERRY_TOKEN_FILE say where the service is; both have the defaults of `make run`.
set -euo pipefail

url=${VMFERRY_URL:-http://127.0.0.1:8080}/v1
token_file=${VMFERRY_TOKEN_FILE:-var/token}

# The token comes from a file descriptor: an argument would show it to everyone on this machine.
# An error is a JSON document that says what is wrong and what to do: it goes to stderr.
call() {
    local answer
    answer=$(curl --silent --show-error --fail-with-body \
        --config <(printf 'header = "Authorization: Bearer %s"\n' "$(<"$token_file")") "$@") || {
        echo "$answer" >&2
        return 1
    }
    echo "$answer"
}

field() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

body=$(python3 -c '
import json, sys
source, vm, target, strategy = sys.argv[1:]
print(json.dumps({"source": source, "vm": vm, "target": target, "options": {"strategy": strategy}}))
' "$1" "$2" "$3" "${4:-cold}")
job=$(call --json "$body" --header "Idempotency-Key: $(</proc/sys/kernel/random/uuid)" "$url/jobs")
id=$(field id <<<"$job")

until state=$(field state <<<"$job"); [[ $state =~ ^(succeeded|failed|cancelled|rolled_back|rollback_failed)$ ]]; do
    echo "$id $state $(field phase <<<"$job")"
    job=$(call "$url/jobs/$id?wait=20")
done
echo "$id $state"
[[ $state == succeeded ]]
