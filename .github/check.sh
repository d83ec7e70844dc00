#!/usr/bin/env bash
# The check of action.yml: annotations in the log, a summary, SARIF. The step itself never fails: the last step of the
# action ends with the status that is kept here, after the upload.
set -uo pipefail

folder="${RUNNER_TEMP:-$(mktemp -d)}/fanin"
mkdir -p "$folder"
rm -f "$folder/fanin.sarif" "$folder/fanin.md"

options=(--format github --out "$folder/fanin.sarif" --out "$folder/fanin.md")
[ -z "${FANIN_INPUT:-}" ] || options+=(--input "$FANIN_INPUT")
[ -z "${FANIN_FAIL_ON:-}" ] || options+=(--fail-on "$FANIN_FAIL_ON")
[ -z "${FANIN_BASELINE:-}" ] || options+=(--baseline "$FANIN_BASELINE")
read -r -a further <<<"${FANIN_ARGUMENTS:-}"

fanin check "$FANIN_TARGET" "${options[@]}" "${further[@]}"
status=$?

if [ -f "$folder/fanin.md" ]; then
  cat "$folder/fanin.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
  echo "sarif=$folder/fanin.sarif" >>"${GITHUB_OUTPUT:-/dev/null}"
fi
echo "status=$status" >>"${GITHUB_OUTPUT:-/dev/null}"
